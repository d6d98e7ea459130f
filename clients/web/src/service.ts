/** What the page asks the service for, and how it hears of changes. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Client, Refused } from "../../typescript/src/index.ts";
import { gone, useAway } from "./away.ts";

/** Where the service is: the folder of the page, which a proxy may show below a prefix. */
export const base = new URL(".", location.href).href.replace(/\/$/, "");
export const client = new Client(base);

export interface Sensor { width: number; height: number }
export interface StreamCard {
  id: string; name: string | null; state: string; policy: string; created_s: number; sensor: Sensor; outputs: string[];
  source: SourceCard | null;
}
export interface SourceCard {
  address: string; state: string; error: string | null; restarts: number; name: string | null;
  losses: Record<string, number>; may_be_lost_unnoticed: string | null;
}
export interface Stats {
  state: string; events: number; frames: number; watermark_us: number | null; lag_us: number; waiting_frames: number;
  rates: { events_per_s: number; bytes_per_s: number }; rows: Record<string, number>;
  dropped: Record<string, number>; repaired: Record<string, number>; filtered: Record<string, number>; costs: Record<string, Record<string, unknown>>;
  stride: { now: number; most: number; changes: number; events: Record<string, number> };
  reaction: Record<string, Reaction>; stage_seconds: Record<string, number>; subscribers: number; lagged_rows: number; source: SourceCard | null;
  trouble: string | null; failure: { code: string; detail: string } | null;
  recording: { on: boolean; bytes: number; left_out_frames: number } | null;
}
/** Of an output: from an event's arrival to the answer that covers it; quantiles of the last seconds, means of its parts. */
export interface Reaction {
  events: number; silent: number; given_up: number; horizon_us: number; p50_us: number | null; p90_us: number | null;
  p99_us: number | null; bound_us: number | null; parts_us: Record<string, number>;
}
export interface Standing { name: string; stream: string | null; opened: number; error: string | null }
export interface Receiver {
  name: string; to: string; state: string; sent: number; rows: number; dropped: number; refused: number; lost_rows: number;
  error: string | null; last_sent_s: number | null; waiting: number; waiting_bytes: number;
}
export interface Artifact { name: string; bytes: number; sha256: string; url: string }
export interface Job {
  id: string; state: string; name: string; error: string | null; created_s: number; finished_s: number | null;
  attempts: number; done: number; eta_s: number | null; priority: number; events: number | null;
  rows: Record<string, number> | null; artifacts: Artifact[]; history: { attempt: number; error: string }[];
}
export interface Stage { id: string; kind: string; [key: string]: unknown }
export interface Pipeline { version: number; stages: Stage[]; outputs: string[]; [key: string]: unknown }
export interface Schema {
  type?: string; description?: string; default?: unknown; minimum?: number; maximum?: number; enum?: unknown[];
  const?: unknown; anyOf?: Schema[]; properties?: Record<string, Schema>; exclusiveMinimum?: number; $ref?: string;
}
export interface Pipelines {
  presets: { name: string; pipeline: Pipeline }[];
  own: { name: string; pipeline?: Pipeline; error?: string }[];
  kinds: Record<string, Schema>;
}
export interface Model {
  name: string; kind?: string; version?: string; error?: string; zoo?: boolean; digest?: string; licence?: string;
  labels?: { name: string }[]; accuracy?: Record<string, unknown>; versions?: string[];
  provenance?: Record<string, unknown>; costs?: Record<string, unknown>; shape?: number[]; weights?: number;
  weights_not_zero?: number; bytes?: number; bin_us?: number; description?: string;
}
export interface Session { token_needed: boolean; name: string | null; scope: string | null }

/** Whether a problem means that one must sign in first. */
export function wantsToken(problem: unknown): boolean {
  return problem instanceof Refused && problem.status === 401;
}

/** A problem in words that help. */
export function inWords(problem: unknown): string {
  if (problem instanceof Refused) {
    if (problem.status === 401) return "A token is needed: sign in first.";
    return problem.message.replace(/^\d+: /, "");
  }
  if (problem instanceof TypeError) return "The service does not answer. Is it still running?";
  return problem instanceof Error ? problem.message : String(problem);
}

export interface Asked<T> { value: T | null; problem: unknown; again: () => void }

/** Ask for something now and every so many ms, and again at will; null asks for nothing. */
export function useAsked<T>(path: string | null, everyMs = 0): Asked<T> {
  const [value, setValue] = useState<T | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [turn, setTurn] = useState(0);
  const asked = useRef<string | null>(null);
  const away = useAway();
  useEffect(() => {
    if (asked.current !== path) setValue(null);
    asked.current = path;
    if (path === null || away) return; // once it is back, everything is asked anew
    let over = false;
    let timer = 0;
    const ask = async () => {
      try {
        const found = (await client.request("GET", path)) as T;
        if (over) return;
        setValue(found);
        setProblem(null);
      } catch (caught) {
        if (over) return;
        if (caught instanceof TypeError) gone(`${base}/healthz`); // what was there stays: the frame says it once
        else setProblem(caught);
      }
      if (!over && everyMs > 0) timer = window.setTimeout(ask, everyMs);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [path, everyMs, turn, away]);
  return { value, problem, again: () => setTurn((n) => n + 1) };
}

const KNOWN = new Intl.NumberFormat("en");
export const count = (n: number): string => KNOWN.format(Math.round(n));

/** A number with the prefix that makes it short: 1.2 M. */
export function short(n: number, digits = 3): string {
  for (const [size, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (Math.abs(n) >= size) return `${Number((n / size).toPrecision(digits))} ${prefix}`;
  }
  return `${Number(n.toPrecision(digits))} `;
}

export function bytes(n: number): string {
  return n < 1000 ? `${n} B` : `${short(n).replace(" ", " ")}B`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function when(seconds: number): string {
  const date = new Date(seconds * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}
