"""Browsers that are signed in: a random cookie stands for a token, for a while."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict

from service.access.tokens import Token, Tokens

COOKIE = "polychrony_session"
_MOST = 1000


class Sessions:
    """Sessions in memory: after a restart people sign in again.

    Args:
        tokens: of the service; a session ends when its token is revoked.
        lasts_s: how long one lasts.
    """

    def __init__(self, tokens: Tokens, lasts_s: float) -> None:
        self._tokens, self._lasts_s = tokens, lasts_s
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, secret: str) -> tuple[str, Token] | None:
        """(what the cookie holds, the token) for whoever knows a token."""
        token = self._tokens.find(secret)
        if token is None:
            return None
        cookie = secrets.token_urlsafe(32)
        self._open[_key(cookie)] = secret, time.monotonic() + self._lasts_s
        while len(self._open) > _MOST:
            self._open.popitem(last=False)
        return cookie, token

    def find(self, cookie: str) -> Token | None:
        """The token that a cookie stands for."""
        secret, until = self._open.get(_key(cookie), ("", 0.0))
        if time.monotonic() > until:
            self._open.pop(_key(cookie), None)
            return None
        return self._tokens.find(secret)

    def end(self, cookie: str) -> None:
        """Sign out."""
        self._open.pop(_key(cookie), None)


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
