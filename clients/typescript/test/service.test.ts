/** Streams through a real service, directly and through a proxy whose connections are cut: SERVICE and PROXY name them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Refused, type Rows } from "../src/index.ts";

const service = new Client(process.env["SERVICE"]!);
const events = (n: number, from: number) => {
  const t = Array.from({ length: n }, (_, i) => from + 10 * i);
  return { t, x: t.map((_, i) => i % 60), y: t.map((_, i) => i % 40), p: t.map((_, i) => i % 2) };
};
const request = {
  pipeline: { stages: [{ id: "all", kind: "crop", x: 0, y: 0, width: 64, height: 48 }] },
  sensor: { width: 64, height: 48 },
};

async function rows(client: Client, id: string): Promise<Rows[]> {
  const found: Rows[] = [];
  for await (const result of client.results(id, ["all"], true)) if (result.type === "rows") found.push(result);
  return found;
}

test("what goes in comes out", async () => {
  const stream = await service.stream(request);
  await stream.send(events(1000, 0));
  await stream.heartbeat(20_000);
  const final = await stream.end();
  assert.equal(final.rows["all"], 1000);
  const [part] = await rows(service, stream.id);
  assert.deepEqual([...part!.columns["t"]!.slice(0, 3)], [0, 10, 20]);
  assert.deepEqual([...part!.columns["p"]!.slice(0, 3)], [0, 1, 0]);
  assert.equal(part!.total, 1000);
});

test("the digest is the one that anybody gets, however often the connection breaks", async () => {
  const whole = await service.stream(request);
  for (let i = 0; i < 20; i++) await whole.send(events(500, 5000 * i));
  const wanted = await whole.end();
  const proxied = new Client(process.env["PROXY"]!);
  const stream = await proxied.stream(request);
  const reading = rows(proxied, stream.id);
  for (let i = 0; i < 20; i++) {
    await stream.send(events(500, 5000 * i));
    if (i % 6 === 3) await fetch(process.env["CUT"]!, { method: "POST" });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(await stream.end(), wanted);
  assert.ok(stream.reconnects >= 2, `${stream.reconnects} reconnects`);
  const found = await reading;
  let next = 0;
  for (const part of found) {
    assert.equal(part.firstRow, next);
    next += part.total;
  }
  assert.equal(next, 10_000);
});

test("detections come as typed columns, with their labels", async () => {
  const stream = await service.stream({ pipeline: "motion", sensor: { width: 64, height: 48 } });
  await stream.send(events(3000, 0));
  await stream.end();
  for await (const result of service.results(stream.id, ["motion"], true)) {
    if (result.type === "rows") {
      assert.ok(result.columns["score"] instanceof Float32Array);
      assert.ok(result.columns["label"] instanceof Uint16Array);
    }
  }
});

test("errors say what is wrong and where", async () => {
  await assert.rejects(service.stream({ pipeline: "none" }), (problem: unknown) => {
    assert.ok(problem instanceof Refused);
    assert.equal(problem.status, 422);
    assert.equal(problem.errors[0]!.path, "pipeline");
    return true;
  });
});
