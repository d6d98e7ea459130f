/** What a subscriber gets: rows as typed columns, watermarks, gaps, decisions, and word of rows that are gone. */

import { type Frame, TYPE, parse } from "./wire.ts";

export type Column = Float32Array | Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** What `hello` says of an output; `columns` are numpy's dtype entries. */
export interface Output {
  index: number;
  id: string;
  type: number | null;
  columns: [string, string, number[]?][];
  first_row: number;
  next_row: number;
  kind: string;
  width: number;
  height: number;
  /** Side of the square of pixels that a row stands for. */
  tile: number;
  /** Time that a row stands for, us; 0 where it is a moment. */
  window_us: number;
  labels: { name: string; direction_deg: number | null; speed_px_per_ms: number | null }[];
}

/** Rows of one output; int64 times as float64, which holds them exactly. `total` counts rows that were thinned, too. */
export interface Rows {
  type: "rows";
  output: string;
  kind: string;
  firstRow: number;
  count: number;
  total: number;
  columns: Record<string, Column>;
}
export interface Watermark { type: "watermark"; output: string; tUs: number }
export interface Gap { type: "gap"; output: string; row: number; fromUs: number; tUs: number }
export interface Lagged { type: "lagged"; output: string; from: number; to: number }
export interface Decision {
  type: "decision"; output: string; row: number; t_us: number; from_us: number; label: string; class: number;
  confidence: number; early: boolean; flags: number; latency_us: number; events: number; steps: number;
}
export type Result = Rows | Watermark | Gap | Lagged | Decision;

const READERS: Record<string, { bytes: number; make: (n: number) => Column; get: (v: DataView, at: number) => number }> = {
  "<i8": { bytes: 8, make: (n) => new Float64Array(n), get: (v, at) => Number(v.getBigInt64(at, true)) },
  "<u2": { bytes: 2, make: (n) => new Uint16Array(n), get: (v, at) => v.getUint16(at, true) },
  "<u4": { bytes: 4, make: (n) => new Uint32Array(n), get: (v, at) => v.getUint32(at, true) },
  "<f4": { bytes: 4, make: (n) => new Float32Array(n), get: (v, at) => v.getFloat32(at, true) },
};

/** What one subscriber has read, and where it goes on after a break: no row is missed, none comes twice. */
export class Inbox {
  outputs = new Map<number, Output>();
  /** Whether the stream has ended and everything was read. */
  over = false;
  /** What the service said before it closed for a fault. */
  fault: { code: string; detail: string } | null = null;
  readonly #after = new Map<string, number>();
  readonly #gaps = new Set<string>();
  readonly #asked: string[];
  readonly #start: boolean;

  /** `start`: whether to read from row 0; or the row behind which to start, by output. */
  constructor(outputs: string[] = [], start: boolean | Map<string, number> = false) {
    this.#asked = outputs;
    this.#start = start === true || (start !== false && [...start.values()].some((row) => row < 0));
    if (start !== false && start !== true) for (const [output, row] of start) this.#after.set(output, row);
  }

  /** The query to connect with. */
  query(): string {
    const query = new URLSearchParams(this.#asked.map((output) => ["output", output]));
    for (const [output, row] of this.#after) if (row >= 0) query.append("after", `${output}:${row}`);
    if (this.#start) query.append("from", "start");
    return query.toString();
  }

  /** A message as a result, where it is one. */
  take(message: Uint8Array | string): Result | null {
    return typeof message === "string" ? this.#text(JSON.parse(message)) : this.#frame(parse(message));
  }

  #text(said: any): Result | null {
    if (said.type === "hello") {
      this.outputs = new Map(said.outputs.map((output: Output) => [output.index, output]));
      for (const output of this.outputs.values()) {
        if (!this.#start && !this.#after.has(output.id)) this.#after.set(output.id, output.next_row - 1);
      }
    } else if (said.type === "error") {
      this.fault = said;
    } else if (said.type === "end") {
      this.over = true;
    } else if (said.type === "lagged") {
      this.#after.set(said.output, said.to - 1);
      return said;
    } else if (said.type === "decision") {
      this.#after.set(said.output, said.row);
      return said;
    } else if (said.type === "gap") {
      const key = `${said.output} ${said.row} ${said.t_us}`;
      if (this.#gaps.has(key)) return null; // told once more after a reconnect
      this.#gaps.add(key);
      return { type: "gap", output: said.output, row: said.row, fromUs: said.from_us, tUs: said.t_us };
    }
    return null;
  }

  #frame(frame: Frame): Result {
    const output = this.outputs.get(frame.code);
    if (output === undefined) throw new Error(`rows of an output ${frame.code} that nobody told of`);
    if (frame.type === TYPE.watermark) return { type: "watermark", output: output.id, tUs: frame.tUs };
    const rows = frame.type === TYPE.thinnedEvents ? thinned(frame, output) : table(frame, output);
    this.#after.set(output.id, rows.firstRow + rows.total - 1);
    return rows;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function thinned(frame: Frame, output: Output): Rows {
  const view = viewOf(frame.payload);
  const n = frame.count;
  const t = new Float64Array(n), x = new Uint16Array(n), y = new Uint16Array(n), p = new Uint8Array(n);
  for (let i = 0, at = 8; i < n; i++, at += 8) {
    const row = view.getUint16(at + 6, true);
    t[i] = frame.tUs + view.getUint32(at, true);
    x[i] = view.getUint16(at + 4, true);
    y[i] = row & 0x7fff;
    p[i] = row >>> 15;
  }
  const total = Number(view.getBigUint64(0, true));
  return { type: "rows", output: output.id, kind: output.kind, firstRow: frame.number, count: n, total, columns: { t, x, y, p } };
}

function table(frame: Frame, output: Output): Rows {
  const view = viewOf(frame.payload);
  const n = frame.count;
  const columns: Record<string, Column> = {};
  let rowBytes = 0;
  for (const [, kind, shape] of output.columns) rowBytes += READERS[kind]!.bytes * (shape?.[0] ?? 1);
  let offset = 0;
  for (const [name, kind, shape] of output.columns) {
    const reader = READERS[kind]!;
    const width = shape?.[0] ?? 1;
    const column = reader.make(n * width);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < width; k++) {
        column[i * width + k] = reader.get(view, i * rowBytes + offset + k * reader.bytes);
      }
    }
    offset += reader.bytes * width;
    if (name !== "zero") columns[name] = column;
  }
  return { type: "rows", output: output.id, kind: output.kind, firstRow: frame.number, count: n, total: n, columns };
}
