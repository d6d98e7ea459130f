"""Addresses without what lets somebody in: for logs, traces, answers and ``polychrony config``."""

from __future__ import annotations

from typing import Any

HIDDEN = "***"


def masked(text: str) -> str:
    """An address without its user, password and query; other text as it is.

    What stands before the last ``@`` goes, as a password may hold any character, and so does all behind ``?``: it is
    better to hide too much of an odd address than too little.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    return f"{scheme}://{without_query(rest.rpartition('@')[2])}"


def without_query(text: str) -> str:
    """A path or an address, with its query hidden."""
    path, mark, _ = text.partition("?")
    return f"{path}?{HIDDEN}" if mark else text


def masked_all(value: Any) -> Any:
    """The same document with every address in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_all(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_all(one) for one in value]
    return value
