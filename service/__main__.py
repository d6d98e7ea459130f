"""``python -m service``: the ``polychrony`` command."""

from service.cli import main

main()
