"""Which addresses the service may fetch events from: none that was not allowed (``allowed_sources``).

A name is resolved here, once, and what is connected to is the address that was checked: a name that is rebound in
between leads nowhere. Loopback, link-local and the like are reached only where an entry names their address itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UserError
from pipeline.samples import CLIP
from pipeline.sources.live import SCHEMES

_LOOKING, _LOOK_UP_S = ThreadPoolExecutor(4, "look-up"), 10
_PORTS = {"rtsp": 554, "dv": 7777, "udp": 3333}
PUSHED, SAMPLE = "pictures:", "sample:"
"""What always may be asked for, as neither reaches outside: pictures that a client pushes, the bundled clip."""
_DEVICES = re.compile(r"webcam:\d{1,3}|usb:[\w.-]*")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowed(UserError):
    """An address that the service may not fetch from."""


@dataclass(frozen=True)
class Target:
    """A source that may be opened.

    Attributes:
        address: as :func:`pipeline.sources.live.open_live` takes it; of a network source with its number for a name.
        host: the number to connect to; "" for files and devices.
        port: likewise.
        is_file: whether it is read from the disk, and can be read again from its start.
    """

    address: str
    host: str = ""
    port: int = 0
    is_file: bool = False


async def look_up(address: str, allowed: tuple[str, ...]) -> Target:
    """:func:`check` beside the event loop; names that nobody answers for hold up no other work.

    Raises:
        NotAllowed: no entry of ``allowed`` fits, or the name takes too long.
    """
    looking = asyncio.get_running_loop().run_in_executor(_LOOKING, check, address, allowed)
    try:
        async with asyncio.timeout(_LOOK_UP_S):
            return await looking
    except TimeoutError as problem:
        raise NotAllowed(f"source.address: its name was not resolved within {_LOOK_UP_S} s") from problem


def check(address: str, allowed: tuple[str, ...]) -> Target:
    """The source at an address, resolved; blocks while a name is looked up.

    Raises:
        NotAllowed: no entry of ``allowed`` fits.
    """
    if not address.isprintable():
        raise NotAllowed("source.address: holds characters that do not print")
    if address == PUSHED:
        return Target(address)
    if address == SAMPLE:
        return Target(str(CLIP), is_file=True)
    if _DEVICES.fullmatch(address):
        if address in allowed or address.partition(":")[0] + ":" in allowed:
            return Target(address)
        raise _refusal()
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if not scheme:
        return _file(address, allowed)
    if scheme in SCHEMES:  # of a plug-in, which knows alone what its addresses mean: each is listed as it is
        if address in allowed:
            return Target(address)
        raise _refusal()
    if scheme not in _PORTS:
        raise NotAllowed(f"source.address: allowed ways are {', '.join(f'{s}://' for s in _PORTS)}, usb:, webcam:N, "
                         f"{PUSHED}, {SAMPLE} and a file or folder")  # fmt: skip
    return _network(scheme, address, allowed)


def _refusal() -> NotAllowed:
    return NotAllowed("source.address: not among what the setting allowed_sources lets the service fetch")


def _file(address: str, allowed: tuple[str, ...]) -> Target:
    path = Path(address)
    if path.is_absolute() and ".." not in path.parts:
        real = path.resolve()
        for entry in allowed:
            if (
                "://" not in entry
                and not _DEVICES.fullmatch(entry)
                and real.is_relative_to(Path(entry).resolve())
            ):
                return Target(str(real), is_file=True)
    raise _refusal()


def _network(scheme: str, address: str, allowed: tuple[str, ...]) -> Target:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    except ValueError:
        raise NotAllowed("source.address: not an address") from None
    entries = [_entry(entry) for entry in allowed if entry.lower().startswith(f"{scheme}://")]
    fitting = [entry for entry, wanted in entries if wanted in {None, port}]
    if not fitting:  # nothing is even looked up for an address that no entry could fit
        raise _refusal()
    resolved = _resolve(host, port)
    if not resolved or not all(_fits(host, number, fitting) for number in resolved):
        raise _refusal()
    number = str(resolved[0])
    bracketed = f"[{number}]" if ":" in number else number
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"{scheme}://{login}{bracketed}:{port}{parts.path or '/'}{query}", number, port)


def _entry(entry: str) -> tuple[str, int | None]:
    """(host or network, port) of an entry."""
    rest = entry.partition("://")[2].rstrip("/")
    match = re.fullmatch(r"(\[[^\]]+\](?:/\d+)?|[^:]*(?:/\d+)?)(?::(\d+))?", rest)
    if match is None:
        return rest, None
    return match[1].replace("[", "").replace("]", "").lower(), int(match[2]) if match[2] else None


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    numbers = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    return list(dict.fromkeys(_plain(number) for number in numbers))


def _plain(number: Address) -> Address:
    """IPv4 in IPv6's clothes is what it is."""
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return mapped or number


def _fits(host: str, number: Address, entries: list[str]) -> bool:
    for entry in entries:
        try:
            if number in ipaddress.ip_network(entry, strict=False):
                return True
        except (
            ValueError
        ):  # a name: it leads to a machine elsewhere, never to this one or its neighbours' insides
            if host.lower() == entry and not (
                number.is_loopback or number.is_link_local or number.is_multicast
                or number.is_unspecified or number.is_reserved
            ):  # fmt: skip
                return True
    return False
