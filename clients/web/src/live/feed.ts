/** What the page knows of one stream's results: filled by the worker's batches, drawn by the view. */

import { base } from "../service.ts";
import type { Decision, Output, Result, Rows } from "../../../typescript/src/index.ts";
import { History } from "./history.ts";
import type { Said, Taken } from "./worker.ts";

const MOST_FRESH = 500_000, WINDOWS = 400, DETECTIONS = 20_000, DECISIONS = 60, NOTES = 8;

export interface Field { tUs: number; x: Uint16Array; y: Uint16Array; vx: Float32Array; vy: Float32Array; confidence: Float32Array; flags: Uint32Array }
export interface Movers {
  tUs: number; x: Uint16Array; y: Uint16Array; width: Uint16Array; height: Uint16Array; vx: Float32Array; vy: Float32Array;
  id: Uint32Array;
}
export interface Detections { tUs: number; x: Uint16Array; y: Uint16Array; label: Uint16Array }
/** `kind`: what a note of the same kind takes the place of, counted. */
export interface Note { at: number; text: string; bad: boolean; kind: string; times: number }

export class Feed {
  outputs: Output[] = [];
  readonly history = new History();
  /** Of a classifier's layer, one pixel a neuron. */
  readonly spikes = new History(2 ** 18);
  fields: Field[] = [];
  movers: Movers[] = [];
  detections: Detections[] = [];
  decisions: Decision[] = [];
  notes: Note[] = [];
  /** The newest time that is complete, us. */
  nowUs = 0;
  /** Shown and left out of the picture, since the start. */
  shown = 0;
  left = 0;
  on = 0;
  off = 0;
  over = false;
  connected = false;
  /** While somebody looks at a moment that has passed, what was kept stays. */
  held = false;
  /** Events that came since they were last taken, to be drawn. */
  #fresh: Rows[] = [];
  #freshRows = 0;
  #stale = false;
  readonly #worker: Worker;
  #kept = 0;
  #told: () => void;

  constructor(id: string, told: () => void, ended: boolean) {
    this.#told = told;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Said>) => this.#hear(data);
    this.#worker.postMessage({ url: base, id, ended });
  }

  close(): void {
    this.#worker.terminate();
  }

  get hasEvents(): boolean {
    return this.drawn("events") !== undefined;
  }

  /** Batches of events that were not drawn yet; null where that were too many, and the picture is to be made anew. */
  take(): Rows[] | null {
    const fresh = this.#stale ? null : this.#fresh;
    this.#fresh = [];
    this.#freshRows = 0;
    this.#stale = false;
    return fresh;
  }

  /** Oldest and newest moment that can be gone back to, us. */
  get span(): [number, number] {
    const kept = this.history.span ?? [this.fields[0]?.tUs ?? this.detections[0]?.tUs ?? this.nowUs, this.nowUs];
    return [kept[0], Math.max(kept[1], kept[0])];
  }

  /** The output of a kind that is drawn: the first. */
  drawn(kind: string): Output | undefined {
    return this.outputs.find((output) => output.kind === kind && !isRaster(output.id));
  }

  /** What the picture is of: events, else what else has a place. */
  get picture(): Output | undefined {
    return ["events", "detections", "field"].map((kind) => this.drawn(kind)).find((output) => output !== undefined);
  }

  #hear(said: Said): void {
    if (said.type === "hello") {
      this.outputs = said.outputs;
      this.connected = true;
      this.#told();
    } else if (said.type === "over") {
      this.over = true;
      this.#note("The stream has ended.", false);
    } else if (said.type === "broken") {
      this.connected = false;
      this.over ||= !said.again;
      this.#note(said.why, true);
    } else {
      this.#take(said.result, said.left);
      if (said.result.type === "rows") this.#worker.postMessage({ taken: said.result.count } satisfies Taken);
    }
  }

  #take(result: Result, left: number): void {
    if (result.type === "rows") this.#rows(result, left);
    else if (result.type === "watermark") this.nowUs = Math.max(this.nowUs, result.tUs);
    else if (result.type === "decision") {
      this.decisions = [...this.decisions.slice(1 - DECISIONS), result];
      this.nowUs = Math.max(this.nowUs, result.t_us);
      this.#told();
    } else if (result.type === "gap") this.#note(`Data missing before ${seconds(result.tUs)} (lost, or dropped under load).`, false, "gap");
    else this.#note(`This page was too slow for rows ${result.from} to ${result.to} of ${result.output}.`, true, "lagged");
  }

  #rows(rows: Rows, left: number): void {
    const { t, x, y, p } = rows.columns as { t?: Float64Array; x?: Uint16Array; y?: Uint16Array; p?: Uint8Array };
    if (isRaster(rows.output) && t && x && y && p) {
      if (rows.output === this.outputs.find((output) => isRaster(output.id))?.id) this.spikes.add(t, x, y, p);
      return;
    }
    if (rows.output !== this.drawn(rows.kind)?.id) return; // a picture of several would be one of none
    if (rows.kind === "events" && t && x && y && p) {
      if (!this.held) this.history.add(t, x, y, p);
      this.#keep(rows);
      this.shown += rows.count;
      this.left += left;
      let on = 0;
      for (let i = 0; i < p.length; i++) on += p[i]!;
      const scale = rows.count ? (rows.count + left) / rows.count : 0;
      this.on += on * scale;
      this.off += (rows.count - on) * scale;
      if (t.length) this.nowUs = Math.max(this.nowUs, t[t.length - 1]!);
    } else if (rows.kind === "field") this.#windows(rows, this.fields);
    else if (rows.kind === "movers") this.#windows(rows, this.movers);
    else if (rows.kind === "detections" && t?.length) {
      const one = { tUs: t[t.length - 1]!, x: x!, y: y!, label: rows.columns["label"] as Uint16Array };
      this.detections.push(one);
      this.#kept += one.x.length;
      while (this.#kept > DETECTIONS && this.detections.length > 1) this.#kept -= this.detections.shift()!.x.length;
      this.nowUs = Math.max(this.nowUs, one.tUs);
    }
  }

  /** A page that is hidden draws nothing for hours: what it would draw then is in the history. */
  #keep(rows: Rows): void {
    this.#freshRows += rows.count;
    if (this.#freshRows > MOST_FRESH) this.#stale = true;
    if (this.#stale) this.#fresh = [];
    else this.#fresh.push(rows);
  }

  /** Rows of one time are one window: columns of its own, and its time. */
  #windows<Window extends { tUs: number }>(rows: Rows, kept: Window[]): void {
    const t = rows.columns["t"]!;
    for (let start = 0; start < rows.count; ) {
      const tUs = t[start]!;
      let stop = start;
      while (stop < rows.count && t[stop] === tUs) stop++;
      const parts = Object.entries(rows.columns).map(([name, column]) => [name, column.slice(start, stop)]);
      kept.push({ ...Object.fromEntries(parts), tUs });
      this.nowUs = Math.max(this.nowUs, tUs);
      start = stop;
    }
    if (kept.length > WINDOWS) kept.splice(0, kept.length - WINDOWS);
  }

  #note(text: string, bad: boolean, kind = text): void {
    const last = this.notes[0];
    if (last?.text === text) return; // each output tells of a gap
    const again = last?.kind === kind;
    const note = { at: Date.now(), text, bad, kind, times: again ? last!.times + 1 : 1 };
    this.notes = [note, ...this.notes.slice(again ? 1 : 0)].slice(0, NOTES);
    this.#told();
  }
}

/** Whether an output is what neurons sent, not what pixels did. */
export const isRaster = (output: string): boolean => output.endsWith(".spikes");

export function seconds(us: number): string {
  return `${(us * 1e-6).toFixed(3)} s`;
}
