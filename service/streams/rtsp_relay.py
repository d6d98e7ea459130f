"""A way to one RTSP camera and to no other: FFmpeg connects to the relay, the relay to the address that was checked.

FFmpeg follows the redirects of a camera to wherever they point; here an answer that redirects ends the connection.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

_REDIRECT = re.compile(rb"RTSP/\S*\s+\+?0*3\d\d|\nlocation[ \t]*:", re.IGNORECASE)
"""As FFmpeg reads an answer: it drops carriage returns, and takes any blanks and any number that begins with a 3."""
_LOOK_BACK = 8192
"""Bytes of what came before that are looked at once more; FFmpeg cuts lines at 4096."""
_PATIENCE_S = 5


class Relay:
    """Listens on loopback for as long as the process lives.

    Args:
        host: number of the camera.
        port: likewise.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.redirects = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            try:
                far = socket.create_connection(self._target, _PATIENCE_S)
            except OSError:
                near.close()
                continue
            # A camera may be silent for long; only connecting has to be quick.
            far.settimeout(None)
            for one, other, watched in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=(one, other, watched), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, watched: bool) -> None:
        seen = b""
        with suppress(OSError):
            while data := one.recv(65_536):
                if watched:
                    # A redirect may be cut in two by the network, so the end of what came before is kept.
                    seen = seen[-_LOOK_BACK:] + data.replace(b"\r", b"")
                    if _REDIRECT.search(seen):
                        self.redirects += 1
                        break
                other.sendall(data)
        # Both, so that the other direction's thread ends, too.
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
