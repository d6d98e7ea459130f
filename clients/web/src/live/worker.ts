/// <reference lib="webworker" />
/** Reads a stream's results beside the page, so that the page never waits for bytes; thins events where it lags. */

import { Client, Closed } from "../../../typescript/src/index.ts";
import type { Output, Result } from "../../../typescript/src/index.ts";

/** `ended`: the stream is over, and its last rows are wanted. */
export interface Order { url: string; id: string; ended: boolean }
/** How many events the page has taken. */
export interface Taken { taken: number }
export type Said =
  | { type: "hello"; outputs: Output[] }
  | { type: "result"; result: Result; left: number }
  | { type: "over" }
  | { type: "broken"; why: string; again: boolean };

const LAST = 50_000; // rows of each output that show how an ended stream ended
const FREE = 60_000; // so many events may wait for the page before they are thinned
const MOST = 600_000; // beyond, only what is not events goes through
let waiting = 0;

self.onmessage = ({ data }: MessageEvent<Order | Taken>) => {
  if ("taken" in data) waiting -= data.taken;
  else void read(data);
};

function tell(said: Said, moved: Transferable[] = []): void {
  self.postMessage(said, { transfer: moved });
}

async function read({ url, id, ended }: Order): Promise<void> {
  const client = new Client(url, { patienceMs: 3_600_000 });
  try {
    const rows: Record<string, number> = ended ? (await client.request("GET", `/v1/streams/${id}/stats`)).rows : {};
    const after = new Map(Object.entries(rows).map(([output, n]) => [output, Math.max(0, n - LAST) - 1]));
    for await (const result of client.results(id, [], ended ? after : false, (outputs) => tell({ type: "hello", outputs }),
      (code) => tell({ type: "broken", why: `connection lost (${code}): connecting again`, again: true }))) {
      pass(result);
    }
    tell({ type: "over" });
  } catch (problem) {
    const why = problem instanceof Closed && problem.close === 4404 ? "The stream was deleted."
      : problem instanceof Error ? problem.message : String(problem);
    tell({ type: "broken", why, again: false });
  }
}

function pass(result: Result): void {
  if (result.type !== "rows") {
    tell({ type: "result", result, left: 0 });
    return;
  }
  let left = result.total - result.count;
  if (result.kind === "evidence") return; // nothing on the page draws it
  let { columns, count } = result;
  if (waiting > FREE && result.kind !== "field") {
    const every = waiting > MOST ? count + 1 : 2 ** Math.min(6, Math.ceil(2 * Math.log2(waiting / FREE)));
    const kept = Math.floor(count / every);
    columns = Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column.filter((_, i) => i % every === 0).slice(0, kept)]));
    left += count - kept;
    count = kept;
  }
  waiting += count;
  tell({ type: "result", result: { ...result, columns, count }, left },
    Object.values(columns).map((column) => column.buffer as ArrayBuffer));
}
