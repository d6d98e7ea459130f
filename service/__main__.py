"""``python -m service``: the ``polychrony`` command."""

from service.bootstrap import main

main()
