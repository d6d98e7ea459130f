/** The codec against the frames that the service's and the Python client's codecs are held to: GOLDEN names the file. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BadFrame, ENCODING, TYPE, build, crc32, packEvents, parse } from "../src/wire.ts";

const golden = JSON.parse(readFileSync(process.env["GOLDEN"]!, "utf8")) as Record<string, string>;
const bytes = (name: string) => Uint8Array.from(Buffer.from(golden[name]!, "hex"));
const EVENTS = { t: [1000, 1010], x: [5, 65535], y: [7, 0], p: [true, false] };

test("the golden frames are what is built", () => {
  const [packed] = [...packEvents(EVENTS)];
  assert.deepEqual(build(TYPE.events, ENCODING.aer64, 3, packed!.tUs, packed!.count, packed!.payload), bytes("events"));
  assert.deepEqual(build(TYPE.end, 0, 9, Number.MAX_SAFE_INTEGER, 0), bytes("end"));
});

test("the golden frame is what is read", () => {
  const frame = parse(bytes("events"));
  assert.deepEqual([frame.type, frame.code, frame.number, frame.tUs, frame.count], [1, 0, 3, 1000, 2]);
  assert.deepEqual(frame.payload, bytes("payload"));
});

test("no flipped bit goes unnoticed", () => {
  for (let at = 0; at < bytes("events").length; at++) {
    const data = bytes("events");
    data[at]! ^= 1;
    assert.throws(() => parse(data), BadFrame, `byte ${at}`);
  }
});

test("the sum is zlib's", () => assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926));

test("events are cut where time falls, and where a frame is full", () => {
  const t = [5, 6, 6, 2, 3, 2 ** 33], x = t.map(() => 0);
  const parts = [...packEvents({ t, x, y: x, p: x })].map(({ tUs, count }) => [tUs, count]);
  assert.deepEqual(parts, [[5, 3], [2, 2], [2 ** 33, 1]]);
  assert.deepEqual([...packEvents({ t, x, y: x, p: x }, 2)].map(({ count }) => count), [2, 1, 2, 1]);
});

test("columns that do not fit are refused", () => {
  const one = { t: [1], x: [1], y: [1], p: [1] };
  for (const bad of [{ t: [0.5] }, { t: [-1] }, { x: [65536] }, { y: [32768] }, { p: [1, 2] }]) {
    assert.throws(() => [...packEvents({ ...one, ...bad })], RangeError);
  }
});
