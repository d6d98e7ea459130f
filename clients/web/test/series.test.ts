import assert from "node:assert/strict";
import test from "node:test";
import { add, type Series } from "../src/live/series.ts";

test("an hour is kept, the last minutes finely, in bounded room", () => {
  const kept: Series = { at: [], charts: {}, coarse: 0 };
  for (let k = 0; k <= 20_000; k++) {
    add(kept, k * 0.5, k < 100 ? { rate: { all: k } } : { rate: { all: k, late: 7 } });
    assert.ok(kept.at.length <= 630);
    for (const curve of Object.values(kept.charts).flat()) assert.equal(curve.values.length, kept.at.length);
  }
  const now = kept.at[kept.at.length - 1]!;
  assert.equal(now, 10_000);
  assert.ok(now - kept.at[0]! <= 3600 && now - kept.at[0]! > 3580, `from ${kept.at[0]}`);
  assert.ok(kept.at.every((t, i) => i === 0 || t > kept.at[i - 1]!));
  const recent = kept.at.filter((t) => t >= now - 60);
  assert.ok(recent.length >= 100, `${recent.length} in the last minute`);
  // A curve that rises with time still says of each moment what it was.
  const all = kept.charts["rate"]!.find((one) => one.name === "all")!.values;
  kept.at.forEach((t, i) => assert.ok(Math.abs(all[i]! - 2 * t) < 1e-6));
});

test("a curve that begins later has nothing before", () => {
  const kept: Series = { at: [], charts: {}, coarse: 0 };
  add(kept, 0, { rate: { all: 1 } });
  add(kept, 1, { rate: { all: 2, on: 3 } });
  add(kept, 2, {});
  assert.deepEqual(kept.charts["rate"], [{ name: "all", values: [1, 2, null] }, { name: "on", values: [null, 3, null] }]);
});
