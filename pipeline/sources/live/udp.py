"""SPIF words over UDP."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

from kernels.coding.decode import SpifDecoder, decode_spif
from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sources.base import SourceError
from pipeline.sources.live.base import Arrival, BaseLive, IngressClock

_SO_RXQ_OVFL = 40
"""Linux: tell with each datagram how many were dropped because the socket's buffer was full."""
_BUFFER = 8 * 2**20
_MOST_AT_ONCE = 512
_QUIET_S = 0.1


class Udp(BaseLive):
    """Events as SPIF datagrams; see :func:`kernels.coding.decode.decode_spif`.

    Args:
        host: address to listen on.
        port: likewise; 0 for any, see ``port``.
        sensor: the sender's pixel grid, which the words do not tell.
        give_up_s: end when nothing has come for so long; 0 for never.

    Raises:
        SourceError: no sensor was given, or the address cannot be listened on.
    """

    loss_note = (
        "datagrams that the network loses: SPIF counts nothing; those that this machine drops are counted"
    )

    def __init__(self, host: str, port: int, sensor: Sensor | None, give_up_s: float) -> None:
        super().__init__("SPIF over UDP", give_up_s)
        if sensor is None:
            raise SourceError("SPIF words do not tell the size of their sensor: give it")
        self.sensor = sensor
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            if sys.platform == "linux":
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self._socket.bind((host, port))
        except OSError as problem:
            self._socket.close()
            raise SourceError(f"udp://{host}:{port}: {problem.strerror or problem}") from problem
        self.port: int = self._socket.getsockname()[1]
        self._dropped = 0

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        clock, decoder = IngressClock(), SpifDecoder()
        self.epoch_ns = clock.epoch_ns
        self._heard()
        stamped = False
        while not self._silent_too_long():
            datagrams, times = self._receive(clock)
            gap = self._dropped > self.losses.get("dropped_datagrams", 0)
            self._lost("dropped_datagrams", self._dropped - self.losses.get("dropped_datagrams", 0))
            if datagrams:
                self._heard()
                events = decode_spif(decoder, datagrams, times)
                stamped |= len(events[0]) > 0 and int(decoder.state[0]) == 0 and int(decoder.state[1]) == 0
                unusable = int(decoder.state[2]) + sum(len(one) % 4 > 0 for one in datagrams)
                self._lost("cut_words", unusable)
                decoder.state[2] = 0
                if not stamped:  # their clock is not ours
                    self.epoch_ns = 0
                yield Arrival(events, gap=gap)
            else:
                yield Arrival(packets.no_events(), heartbeat_us=clock.now_us() if stamped else None)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _receive(self, clock: IngressClock) -> tuple[list[bytes], list[int]]:
        """All datagrams that wait, and when each was taken; a moment's wait where none does."""
        datagrams: list[bytes] = []
        times: list[int] = []
        self._socket.settimeout(_QUIET_S)
        while len(datagrams) < _MOST_AT_ONCE:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(65_536, 64)
            except (TimeoutError, BlockingIOError):
                break
            except OSError as problem:
                raise SourceError(f"udp: {problem.strerror or problem}") from problem
            self._socket.setblocking(False)
            datagrams.append(data)
            times.append(clock.now_us())
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= 4:
                    self._dropped = max(self._dropped, struct.unpack("=I", value[:4])[0])
        return datagrams, times
