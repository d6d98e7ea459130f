"""Tokens: who may do what. Kept as hashes (``<data>/tokens.json``); the token itself is shown once.

A token is 256 random bits, so a plain SHA-256 is enough to keep it: there is nothing to guess.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.errors import UserError
from service.settings import LEAST_TOKEN
from service.storage.ports import Secrets
from service.storage.records import BadSecret


class Scope(enum.IntEnum):
    """What a token is good for; each holds those before it."""

    READ = 1
    """See streams, results, jobs and models."""
    STREAM = 2
    """Send events, open and delete streams, upload and run jobs."""
    ADMIN = 3
    """Import and delete models, keep pipelines."""


@dataclass(frozen=True)
class Token:
    """What is kept of a token.

    Attributes:
        id: to name it by.
        name: whose it is, for people.
        scope: what it is good for.
        sha256: of the token.
        created_s: when it was made, s since 1970.
        expires_s: when it ends; None for never.
    """

    id: str
    name: str
    scope: Literal["read", "stream", "admin"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created_s: float
    expires_s: float | None = None

    @property
    def allows(self) -> Scope:
        """Its scope."""
        return Scope[self.scope.upper()]


_NAMES: dict[Scope, Literal["read", "stream", "admin"]] = {
    Scope.READ: "read", Scope.STREAM: "stream", Scope.ADMIN: "admin",
}  # fmt: skip


class TokenError(UserError):
    """A token that is not there, or a file of tokens that cannot be read."""


_FILE = TypeAdapter(list[Token])


class Tokens:
    """The tokens of a service.

    Args:
        store: where they are kept; looked at again whenever they change.
        admin: a token that the settings give; it has every scope.
        open_to_all: whether nobody needs a token as long as none was ever made; on loopback alone.

    Raises:
        TokenError: ``admin`` is too short to be one.
    """

    def __init__(self, store: Secrets, admin: str | None = None, open_to_all: bool = True) -> None:
        if admin is not None and len(admin.strip()) < LEAST_TOKEN:
            raise TokenError(f"token: an admin token has at least {LEAST_TOKEN} characters")
        self._store = store
        self._admin = None if admin is None else Token("admin", "admin", "admin", _hash(admin), 0.0)
        self._seen: object | None = None
        self._known = list[Token]()
        self._demanded = self._admin is not None or not open_to_all

    @property
    def demanded(self) -> bool:
        """Whether a token is needed: once one was made, also when it was revoked.

        Raises:
            TokenError: the file is broken.
        """
        self.all()
        return self._demanded

    def find(self, secret: str) -> Token | None:
        """The token with this secret, if it has not expired."""
        hashed, found = _hash(secret), None
        for token in self._each():
            if hmac.compare_digest(token.sha256, hashed):  # no early way out: how long it takes tells nothing
                found = token
        return found if found is not None and _lasts(found) else None

    def holds(self, known: Token) -> bool:
        """Whether a token that let somebody in still would."""
        return any(
            one.sha256 == known.sha256 and one.scope == known.scope and _lasts(one) for one in self._each()
        )

    def all(self) -> list[Token]:
        """Every token that was made.

        Raises:
            TokenError: the file is broken: nobody gets in.
        """
        try:
            version = self._store.tokens_version()
        except OSError as problem:
            raise self._unreadable(problem) from problem
        # For good: that they are gone is no reason to let everybody in.
        self._demanded = self._demanded or version is not None or self._store.tokens_were_made()
        if version is None:
            self._known = []
        elif version != self._seen:
            self._known = self._read()
        self._seen = version
        return self._known

    def _each(self) -> list[Token]:
        return [*([self._admin] if self._admin else []), *self.all()]

    def create(self, name: str, scope: Scope, days: float | None = None) -> tuple[str, Token]:
        """Make a token: (the secret, what is kept of it)."""
        secret = f"pchy_{secrets.token_urlsafe(32)}"
        now = time.time()
        token = Token(
            secrets.token_hex(4),
            name,
            _NAMES[scope],
            _hash(secret),
            now,
            now + days * 86_400 if days else None,
        )
        self._change(lambda tokens: [*tokens, token])
        return secret, token

    def revoke(self, id_: str) -> None:
        """Revoke a token.

        Raises:
            TokenError: there is none of this id.
        """

        def without(tokens: list[Token]) -> list[Token]:
            kept = [token for token in tokens if token.id != id_]
            if len(kept) == len(tokens):
                raise TokenError(
                    f"no token has the id {id_!r}: there are {', '.join(t.id for t in tokens) or 'none'}"
                )
            return kept

        self._change(without)

    def _change(self, edit: Callable[[list[Token]], list[Token]]) -> None:
        def edited(document: bytes | None) -> bytes:
            tokens = [] if document is None else self._parsed(document)
            return _FILE.dump_json(edit(tokens), indent=1)

        self.all()  # says what is wrong with them, if something is
        try:
            self._store.change_tokens(edited)
        finally:
            # Also where it failed: another process may have changed them meanwhile.
            self._seen = None

    def _read(self) -> list[Token]:
        try:
            return self._parsed(self._store.tokens())
        except OSError as problem:
            raise self._unreadable(problem) from problem

    def _parsed(self, document: bytes) -> list[Token]:
        try:
            return _FILE.validate_json(document)
        except ValidationError as problem:
            raise TokenError(
                f"{self._store.where}: not a file of tokens, so nobody gets in: restore it, or remove it and make "
                "new ones with `polychrony token create`"
            ) from problem

    def _unreadable(self, problem: OSError) -> TokenError:
        return TokenError(f"{self._store.where}: cannot be read, so nobody gets in: {problem.strerror}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _lasts(token: Token) -> bool:
    return token.expires_s is None or token.expires_s >= time.time()


def admin_token(store: Secrets) -> str:
    """The admin token of a service (``<data>/token``); made where there is none.

    Raises:
        BadSecret: what is kept is none: nobody is let in by half a token.
    """
    found = store.read_or_make("token", LEAST_TOKEN, lambda: secrets.token_urlsafe(32).encode())
    token = "".join(c for c in found.decode("ascii", "ignore") if c.isprintable()).strip()
    if len(token) < LEAST_TOKEN:
        raise BadSecret(
            f"the admin token (token, beside {store.where}) has {len(token)} characters that print, and a token has "
            f"at least {LEAST_TOKEN}: restore it, or remove it to have a new one made"
        )
    return token
