"""``WS /v1/streams/{id}/results``: rows out, to any number of subscribers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline import wire
from pipeline.packets import EARLY
from pipeline.row_kinds import ROW_KINDS
from pipeline.rows import Rows
from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem
from service.routes import sockets
from service.routes.state import Service
from service.streams import Stream
from service.streams.admission import FAULT, NO_STREAM, POLICY
from service.streams.lifecycle import State
from service.streams.readers import Waiter
from service.streams.row_store import Head, Lagged, RowStore

router = APIRouter()
_MESSAGE_BYTES = 512 * 1024
_THIN_TO = 16_384
"""Rows of events that one message shows at most."""


@router.websocket("/v1/streams/{stream_id}/results")
@needs(Scope.READ)
async def results(socket: WebSocket, stream_id: str, service: Service) -> None:
    """Send rows as they come to be; see docs/protocol.md."""
    stream = await sockets.stream_or_refusal(socket, service, stream_id)
    if stream is None:
        return
    try:
        asked = _parsed_query(socket.query_params, stream)
    except Problem as problem:
        await socket.send_denial_response(problem.response())
        return
    if asked.lossless:  # taken before anything else can ask for it
        stream.readers.wait_for(Waiter())
    try:
        await socket.accept(subprotocol=sockets.PROTOCOL)
        await stream.restored.wait()
        await _Subscriber(socket, stream, asked, service.settings.slow_subscriber_s).run()
    finally:
        if asked.lossless:
            stream.readers.wait_for(None)


@dataclass(frozen=True)
class _Asked:
    """What the query says."""

    outputs: list[str]
    after: dict[str, int]
    from_start: bool
    lossless: bool


def _parsed_query(query: QueryParams, stream: Stream) -> _Asked:
    known = list(stream.outputs)
    unknown = sorted(set(query) - {"output", "after", "from", "delivery"})
    if unknown:
        raise Problem(400, "unknown parameter: allowed are output, after, from, delivery")
    outputs = list(dict.fromkeys(query.getlist("output"))) or known
    if not set(outputs) <= set(known):
        raise Problem(400, f"output: allowed are {', '.join(known)}")
    after: dict[str, int] = {}
    for text in query.getlist("after"):
        name, _, number = text.rpartition(":")
        if name not in outputs or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise Problem(400, "after: allowed is OUTPUT:ROW of an output that is asked for")
        after[name] = int(number)
    start, delivery = query.get("from"), query.get("delivery", "live")
    if start not in {None, "start"} or delivery not in {"live", "lossless"}:
        raise Problem(400, "allowed are from=start and delivery=lossless")
    if delivery == "lossless" and stream.readers.taken:
        raise Problem(409, "delivery=lossless: another subscriber is waited for already")
    return _Asked(outputs, after, start == "start", delivery == "lossless")


class _TooSlow(Exception):
    pass


class _Subscriber:
    def __init__(self, socket: WebSocket, stream: Stream, asked: _Asked, patience_s: float) -> None:
        self._socket, self._stream, self._asked, self._patience_s = socket, stream, asked, patience_s
        self._feeds = [stream.outputs[name] for name in asked.outputs]
        self._cursor = {feed.name: self._first_row(feed) for feed in self._feeds}
        self._watermark: dict[str, int | None] = dict.fromkeys(asked.outputs)
        self._next_gap = {feed.name: self._first_gap(feed) for feed in self._feeds}

    async def run(self) -> None:
        stream = self._stream
        if self._asked.lossless:
            stream.readers.wait_for(Waiter(self._cursor))
        stream.readers.join(self._asked.outputs)
        leaving = asyncio.create_task(self._until_it_leaves())
        sending = asyncio.create_task(self._send_all())
        try:
            done, _ = await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except _TooSlow:
            stream.readers.cut_one()
            await sockets.close(self._socket, POLICY)
        except (
            RuntimeError,
            OSError,
            WebSocketDisconnect,
        ):  # it left while something was being sent, or its rows were deleted
            if stream.deleted:
                await sockets.close(self._socket, NO_STREAM, ("no_stream", "the stream was deleted"))
        finally:
            for task in (leaving, sending):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            stream.readers.leave(self._asked.outputs)

    def _first_row(self, feed: RowStore) -> int:
        if feed.name in self._asked.after:
            return min(self._asked.after[feed.name] + 1, feed.head.next_row)
        return 0 if self._asked.from_start else feed.head.next_row

    def _first_gap(self, feed: RowStore) -> int:
        """Gaps that lie before the rows that are sent have been told, or do not matter."""
        before = [gap.number for gap in list(feed.gaps) if gap.row < self._cursor[feed.name]]
        if feed.name in self._asked.after or self._asked.from_start:
            return before[-1] + 1 if before else 0
        return feed.gaps_so_far

    async def _until_it_leaves(self) -> None:
        """Subscribers have nothing to say."""
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def _send_all(self) -> None:
        stream = self._stream
        await self._send(stream.view.hello(self._asked.outputs))
        while True:
            grown = stream.changes.for_readers
            if stream.deleted:
                await sockets.close(self._socket, NO_STREAM, ("no_stream", "the stream was deleted"))
                return
            state = stream.state
            behind = [await self._send_some(feed) for feed in self._feeds]
            if any(behind):
                await asyncio.sleep(0)  # others want to read, too
                continue
            if state is State.ENDED:
                await self._send(stream.view.final())
                await sockets.close(self._socket, 1000)
                return
            if state is State.FAILED:
                await sockets.close(self._socket, FAULT, stream.failure)
                return
            await grown.wait()

    async def _send_some(self, feed: RowStore) -> bool:
        """One message of an output, if there is something new; whether there may be more."""
        head, first = feed.head, self._cursor[feed.name]
        if first >= head.next_row:
            await self._send_gaps(feed, head.next_row)
            await self._send_watermark(feed, head.watermark_us)
            self._stream.runner.reactions.sent(feed.name, head.made_s)
            return False
        thin = feed.port.kind == "events"
        most = ROW_KINDS[feed.port.kind].most_rows or max(1, _MESSAGE_BYTES // feed.dtype.itemsize)
        n = min(most, head.next_row - first)
        key = ("rows", first, n, head.next_row, head.watermark_us or 0)
        if (known := feed.message(*key)) is not None:  # another reader stands here, too
            await self._send_gaps(feed, first)
            await self._send(known)
            return await self._moved(feed, first + n, head)
        try:
            rows = feed.read(first, n)
        except Lagged as lag:
            self._stream.readers.lagged(lag.oldest - first)
            await self._send({"type": "lagged", "output": feed.name, "from": first, "to": lag.oldest})
            self._cursor[feed.name] = lag.oldest
            return True
        await self._send_gaps(feed, first)
        if ROW_KINDS[feed.port.kind].frame is None:
            for i, row in enumerate(rows):
                await self._send(_decision(feed, first + i, row))
            return await self._moved(feed, first + len(rows), None)
        message = sockets.framed((_thinned if thin else _whole)(feed, first, rows))
        if (
            first + n == head.next_row and head.watermark_us is not None
        ):  # in one go: they come together anyway
            message += _watermark(feed, head.next_row, head.watermark_us)
        await self._send(feed.keep_message(message, *key))
        return await self._moved(feed, first + n, head)

    async def _moved(self, feed: RowStore, row: int, told: Head | None) -> bool:
        """Rows below ``row`` are sent, and the watermark with the last of ``told``; whether there may be more."""
        self._cursor[feed.name] = row
        if self._asked.lossless:
            self._stream.readers.moved()
        if told is None or row < told.next_row:
            return True
        self._stream.runner.reactions.sent(feed.name, told.made_s)
        self._watermark[feed.name] = told.watermark_us
        await self._send_gaps(feed, row)
        return False

    async def _send_gaps(self, feed: RowStore, until_row: int) -> None:
        if self._next_gap[feed.name] == feed.gaps_so_far:
            return
        for gap in list(feed.gaps):
            if gap.number >= self._next_gap[feed.name] and gap.row <= until_row:
                self._next_gap[feed.name] = gap.number + 1
                where = {"output": feed.name, "row": gap.row, "t_us": gap.to_us}
                await self._send({"type": "gap", **where, "from_us": gap.from_us})

    async def _send_watermark(self, feed: RowStore, watermark_us: int | None) -> None:
        if watermark_us is not None and watermark_us != self._watermark[feed.name]:
            self._watermark[feed.name] = watermark_us
            number = self._cursor[feed.name]
            message = feed.message("watermark", number, watermark_us)
            if message is None:
                message = feed.keep_message(
                    _watermark(feed, number, watermark_us), "watermark", number, watermark_us
                )
            await self._send(message)

    async def _send(self, message: bytes | dict[str, Any]) -> None:
        if isinstance(message, bytes) and sockets.write_now(self._socket, message):
            return
        try:
            async with asyncio.timeout(self._patience_s):
                if isinstance(message, bytes):
                    await sockets.send_framed(self._socket, message)
                else:
                    await self._socket.send_json(message)
        except TimeoutError as problem:
            raise _TooSlow from problem


def _watermark(feed: RowStore, number: int, t_us: int) -> bytes:
    return sockets.framed(wire.build(wire.WATERMARK, feed.index, number, t_us, 0))


def _whole(feed: RowStore, first: int, rows: Rows) -> bytes:
    type_ = ROW_KINDS[feed.port.kind].frame
    if type_ is None:
        raise ValueError(f"rows of {feed.port.kind} go as text")
    return wire.build(type_, feed.index, first, int(rows["t"][0]), len(rows), rows.tobytes())


def _decision(feed: RowStore, number: int, row: Any) -> dict[str, Any]:
    """One decision, as text: there are few, and people read them."""
    label = int(row["label"])
    return {
        "type": "decision", "output": feed.name, "row": number, "t_us": int(row["t"]),
        "from_us": int(row["from_us"]), "label": feed.port.labels[label].name, "class": label,
        "confidence": round(float(row["confidence"]), 6), "early": bool(row["flags"] & EARLY),
        "flags": int(row["flags"]), "latency_us": int(row["t"] - row["from_us"]), "events": int(row["events"]),
        "steps": int(row["steps"]),
    }  # fmt: skip


def _thinned(feed: RowStore, first: int, rows: Rows) -> bytes:
    """Every so-manieth event, and how many there were."""
    shown = rows[:: -(-len(rows) // _THIN_TO)]
    start = int(rows["t"][0])
    since = shown["t"] - start
    shown = shown[since < 2**32]
    packed = np.empty(len(shown), np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2")]))
    packed["t"], packed["x"], packed["y"] = shown["t"] - start, shown["x"], shown["y"]
    payload = len(rows).to_bytes(8, "little") + packed.tobytes()
    return wire.build(wire.THINNED_EVENTS, feed.index, first, start, len(shown), payload)
