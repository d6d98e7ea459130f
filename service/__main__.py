"""``python -m service``: the ``polychrony`` command."""

from service.boot import main

main()
