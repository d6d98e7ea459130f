/** What was decided, when, and how surely. */

import type { Decision } from "../../../typescript/src/index.ts";
import { ofClass } from "./colour.ts";
import { seconds } from "./feed.ts";

const SHOWN = 24;

export function Timeline({ decisions }: { decisions: Decision[] }) {
  const last = decisions.slice(-SHOWN);
  if (last.length === 0) return null;
  const from = last[0]!.from_us, to = last[last.length - 1]!.t_us, span = Math.max(1, to - from);
  const newest = last[last.length - 1]!;
  return (
    <section class="card" aria-labelledby="decisions">
      <h2 id="decisions">Decisions</h2>
      <p class="newest"><strong>{newest.label}</strong> {(newest.confidence * 100).toFixed(0)} % sure
        {newest.early ? ", early," : ""} after {(newest.latency_us * 1e-3).toFixed(0)} ms and {newest.events} events</p>
      <svg class="timeline" viewBox="0 0 1000 96" preserveAspectRatio="none" role="img"
        aria-label={`The last ${last.length} decisions; the newest is ${newest.label}`}>
        {last.map((one) => {
          const x = ((one.from_us - from) / span) * 1000, w = Math.max(3, ((one.t_us - one.from_us) / span) * 1000 - 1);
          const h = 80 * one.confidence;
          return <rect key={`${one.output} ${one.row}`} x={x} y={92 - h} width={w} height={h} rx="2" fill={ofClass(one.class)} opacity={0.35 + 0.6 * one.confidence}>
            <title>{`${one.label}, ${(one.confidence * 100).toFixed(0)} %, ${seconds(one.t_us)}`}</title>
          </rect>;
        })}
      </svg>
      <ol class="labels" reversed>
        {[...last].reverse().slice(0, 12).map((one) => (
          <li key={`${one.output} ${one.row}`}><span class={`dot c${one.class % 10}`} /><b>{one.label}</b> {(one.confidence * 100).toFixed(0)} % <small>{seconds(one.t_us)}</small></li>
        ))}
      </ol>
    </section>
  );
}
