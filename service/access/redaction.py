"""Addresses without what lets somebody in: for logs, traces, answers and ``polychrony config``."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_BARE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!//)(?:.*)@(.*)", re.DOTALL)
"""An address whose slashes somebody forgot."""
_TAIL = re.compile(r"[?#]")
_QUERIES = re.compile(r"(/[^\s?#'\"]*[?#])[^\s'\")]+")
_USERS = re.compile(r"//[^\s/@'\"]+@")


def masked(text: str) -> str:
    """An address without its user, password and query; other text as it is.

    What stands before the last ``@`` goes, as a password may hold any character, and so does all behind ``?``: it is
    better to hide too much of an odd address than too little.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        found = _BARE.fullmatch(text)
        return f"{found[1]}:{HIDDEN}@{without_query(found[2])}" if found else text
    return f"{scheme}://{without_query(rest.rpartition('@')[2])}"


def masked_within(text: str) -> str:
    """A line of a library's, with the queries and users of the addresses in it hidden."""
    return _USERS.sub("//", _QUERIES.sub(rf"\1{HIDDEN}", text))


def without_query(text: str) -> str:
    """A path or an address, with its query and its fragment hidden."""
    mark = _TAIL.search(text)
    return f"{text[: mark.start()]}{mark[0]}{HIDDEN}" if mark else text


def masked_all(value: Any) -> Any:
    """The same document with every address in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_all(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_all(one) for one in value]
    return value
