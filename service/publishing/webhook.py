"""Messages to a webhook, as Standard Webhooks asks for: an id, a time, and a signature where there is a key.

webhook-signature = "v1," + base64(HMAC-SHA256(key, id + "." + timestamp + "." + body))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time

import httpx

from service.publish_to import PublishTo, trusting
from service.storage.records import Message

_PATIENCE_S = 10.0
_LONGEST_WAIT_S = 300.0
_LATER = frozenset({408, 425, 429})
_KEY_PREFIX = "whsec_"


class Later(OSError):
    """The receiver wants it later.

    Args:
        why: one line.
        after_s: as it asked.
    """

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class NotWanted(OSError):
    """The receiver does not want this message, now or later."""


class Webhook:
    """One address."""

    def __init__(self, to: PublishTo) -> None:
        self._to = to
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, messages: list[Message]) -> int:
        """Post the first message.

        Raises:
            Later: it shall come again.
            NotWanted: it shall not.
            OSError: the receiver is away.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=_PATIENCE_S, verify=trusting(self._to), follow_redirects=False
            )
        one = messages[0]
        try:
            async with self._client.stream(
                "POST", self._to.to, content=one.body, headers=headers(one, self._to.secret(), time.time())
            ) as answer:  # what it says beyond its status is not read
                _judge(answer)
        except httpx.HTTPError as problem:
            raise ConnectionError(str(problem) or type(problem).__name__) from problem
        return 1

    async def stay(self) -> None:
        """Nobody is there between two messages."""

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    say_goodbye = close


def headers(one: Message, key: str | None, now_s: float) -> dict[str, str]:
    """What goes with a message."""
    stamp = str(int(now_s))
    said = {"content-type": "application/json", "webhook-id": one.id, "webhook-timestamp": stamp}
    if key is not None:
        signed = f"{one.id}.{stamp}.".encode() + one.body
        mac = hmac.new(_key(key), signed, hashlib.sha256).digest()
        said["webhook-signature"] = f"v1,{base64.b64encode(mac).decode()}"
    return said


def _key(text: str) -> bytes:
    """``whsec_`` and base64, as such keys are handed out, or any other text as it is."""
    if not text.startswith(_KEY_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error:
        return text.encode()


def _judge(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if 400 <= status < 500 and status not in _LATER:
        raise NotWanted(f"answered {status}")
    after = answer.headers.get("retry-after", "")
    raise Later(f"answered {status}", min(_LONGEST_WAIT_S, float(after)) if after.isdigit() else 0.0)
