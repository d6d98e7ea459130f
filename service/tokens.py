"""Tokens: who may do what. Kept as hashes in ``<data>/tokens.json``; the token itself is shown once.

A token is 256 random bits, so a plain SHA-256 is enough to keep it: there is nothing to guess.
"""

from __future__ import annotations

import enum
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import UserError


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
    scope: str
    sha256: str
    created_s: float
    expires_s: float | None = None

    @property
    def allows(self) -> Scope:
        """Its scope."""
        return Scope[self.scope.upper()]


class TokenError(UserError):
    """A token that is not there, or a file of tokens that cannot be read."""


class Tokens:
    """The tokens of a service.

    Args:
        data_dir: of the service; looked at again whenever the file in it changes.
        admin: a token that the settings give; it has every scope.
    """

    def __init__(self, data_dir: Path, admin: str | None = None) -> None:
        self._path = data_dir / "tokens.json"
        self._admin = Token("admin", "admin", "admin", _hash(admin), 0.0) if admin else None
        self._seen_ns, self._known = -1, list[Token]()

    @property
    def demanded(self) -> bool:
        """Whether there is any token: then one is needed."""
        return self._admin is not None or bool(self.all())

    def find(self, secret: str) -> Token | None:
        """The token with this secret, if it has not expired."""
        hashed, found = _hash(secret), None
        for token in [*([self._admin] if self._admin else []), *self.all()]:
            if hmac.compare_digest(token.sha256, hashed):  # no early way out: how long it takes tells nothing
                found = token
        return None if found is None or (found.expires_s or 2**63) < time.time() else found

    def all(self) -> list[Token]:
        """Every token that was made.

        Raises:
            TokenError: the file is broken: nobody gets in by it.
        """
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._seen_ns:
            self._known, self._seen_ns = self._read(), changed
        return self._known

    def create(self, name: str, scope: Scope, days: float | None = None) -> tuple[str, Token]:
        """Make a token: (the secret, what is kept of it)."""
        secret = f"pchy_{secrets.token_urlsafe(32)}"
        now = time.time()
        token = Token(
            secrets.token_hex(4),
            name,
            scope.name.lower(),
            _hash(secret),
            now,
            now + days * 86_400 if days else None,
        )
        with self._changing() as tokens:
            tokens.append(token)
        return secret, token

    def revoke(self, id_: str) -> None:
        """Make a token worthless.

        Raises:
            TokenError: there is none of this id.
        """
        with self._changing() as tokens:
            kept = [token for token in tokens if token.id != id_]
            if len(kept) == len(tokens):
                raise TokenError(
                    f"no token has the id {id_!r}: there are {', '.join(t.id for t in tokens) or 'none'}"
                )
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Generator[list[Token]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(self._path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w"
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = self._read() if self._path.exists() else []
            yield tokens
            part = self._path.with_suffix(".part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump([asdict(token) for token in tokens], file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        self._seen_ns = -1

    def _read(self) -> list[Token]:
        try:
            return [Token(**one) for one in json.loads(self._path.read_bytes())]
        except (OSError, ValueError, TypeError) as problem:
            raise TokenError(f"{self._path}: not a file of tokens") from problem


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def admin_token(data_dir: Path) -> str:
    """The admin token in ``<data>/token``; made where there is none, readable by its owner alone."""
    path = data_dir / "token"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()
