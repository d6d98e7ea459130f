"""Messages to an MQTT broker (extra ``mqtt``): at least once, in order; ``TOPIC/status`` says if we are there."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pipeline.errors import UserError
from service.publish_to import PublishTo, trusting
from service.publishing.home_assistant import announcement
from service.storage.records import Message

_PATIENCE_S, _LOOK_UP_S = 20.0, 10
_QOS = 1


class Broker:
    """One broker.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self, to: PublishTo) -> None:
        try:
            self._aiomqtt: Any = importlib.import_module("aiomqtt")
        except ImportError as problem:
            raise UserError(f"publish {to.name}: MQTT needs the extra `mqtt` (aiomqtt)") from problem
        self._to, self._topic = to, to.address.path.strip("/") or "polychrony"
        self._open: AsyncExitStack | None = None
        self._client: Any = None
        self._announced: dict[str, tuple[str, bytes] | None] = {}
        """What Home Assistant was told, by topic; a broker that has lost it is told again."""

    async def deliver(self, messages: list[Message]) -> int:
        """Publish messages; how many the broker has confirmed, all of them where this returns.

        Raises:
            OSError: it is away, or does not want us.
        """
        async with self._speaking() as client:
            await self._announce(client, messages)
            await asyncio.gather(
                *(client.publish(f"{self._topic}/{one.topic}", one.body, qos=_QOS) for one in messages)
            )
        return len(messages)

    async def _announce(self, client: Any, messages: list[Message]) -> None:
        """Have Home Assistant know the outputs that messages are of, where it is to."""
        if (prefix := self._to.home_assistant) is None:
            return
        for one in messages:
            if one.topic not in self._announced:
                if (told := announcement(prefix, self._topic, one)) is not None:
                    await client.publish(*told, qos=_QOS, retain=True)
                self._announced[one.topic] = told

    async def stay(self) -> None:
        """Be there while nothing is to be told: what the topic ``status`` says must be true.

        Raises:
            OSError: the broker is away, or does not want us.
        """
        async with self._speaking() as client:
            await client.publish(f"{self._topic}/status", b"online", qos=_QOS, retain=True)

    @asynccontextmanager
    async def _speaking(self) -> AsyncGenerator[Any]:
        """A connection that stands; none is kept where it broke."""
        if self._client is None:
            await self._find()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                yield self._client or await self._connect()
        except self._aiomqtt.MqttError as problem:
            await self.close()
            raise ConnectionError(str(problem)) from problem
        except (OSError, TimeoutError):
            await self.close()
            raise

    async def _find(self) -> None:
        """Look the name up first: paho does so in threads that the whole service shares."""
        host = self._to.address.hostname or ""
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                await asyncio.get_running_loop().getaddrinfo(host, self._to.port)
        except TimeoutError as problem:
            raise ConnectionError(f"the name {host} was not resolved within {_LOOK_UP_S} s") from problem
        except UnicodeError as problem:
            raise ConnectionError(f"the name {host} is none: {problem}") from problem

    async def close(self) -> None:
        """Leave; the broker is told that we are gone."""
        opened, self._open, self._client = self._open, None, None
        if opened is not None:
            try:
                async with asyncio.timeout(2):
                    await opened.aclose()
            except (TimeoutError, OSError, self._aiomqtt.MqttError):
                pass  # it learns of it by the will

    async def _connect(self) -> Any:
        to, mqtt = self._to, self._aiomqtt
        status = f"{self._topic}/status"
        tls = trusting(to) if to.address.scheme == "mqtts" else None
        client = mqtt.Client(
            to.address.hostname, to.port, username=to.user, password=to.secret(), tls_context=tls, timeout=10,
            will=mqtt.Will(status, b"offline", qos=_QOS, retain=True), keepalive=30,
        )  # fmt: skip
        stack = AsyncExitStack()
        self._client = await stack.enter_async_context(client)
        self._open = stack
        await self._client.publish(status, b"online", qos=_QOS, retain=True)
        for told in self._announced.values():
            if told is not None:
                await self._client.publish(*told, qos=_QOS, retain=True)
        return self._client

    async def say_goodbye(self) -> None:
        """The service ends: nobody need wait for the will."""
        if self._client is not None:
            try:
                async with asyncio.timeout(2):
                    await self._client.publish(f"{self._topic}/status", b"offline", qos=_QOS, retain=True)
            except (TimeoutError, OSError, self._aiomqtt.MqttError):
                pass
        await self.close()
