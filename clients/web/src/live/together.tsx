/** Several streams at once, small: what each sees now, and whether it keeps up. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { short, type StreamCard } from "../service.ts";
import { Notice, State } from "../ui.tsx";
import { useFigures } from "./charts.tsx";
import { Feed } from "./feed.ts";
import { nameOf } from "./names.ts";
import { View } from "./view.tsx";

/** A browser keeps some sixteen WebGL contexts: beyond them the oldest goes dark. */
const MOST = 9;

export function Together({ streams }: { streams: StreamCard[] }) {
  if (streams.length === 0) return <Notice>No stream is open.</Notice>;
  return (
    <>
      <h1 class="quiet-title">All open streams</h1>
      {streams.length > MOST && <Notice>The newest {MOST} of {streams.length} streams are shown.</Notice>}
      <div class="together">
        {streams.slice(0, MOST).map((stream) => <Small key={stream.id} stream={stream} />)}
      </div>
    </>
  );
}

function Small({ stream }: { stream: StreamCard }) {
  const [, setTurn] = useState(0);
  const feed = useMemo(() => new Feed(stream.id, () => setTurn((n) => n + 1), false), [stream.id]);
  useEffect(() => () => feed.close(), [feed]);
  const { stats } = useFigures(stream.id, feed);
  const drawn = feed.picture;
  const dropped = Object.values(stats?.dropped ?? {}).reduce((all, n) => all + n, 0);
  const decision = feed.decisions[feed.decisions.length - 1];
  return (
    <section class="card small" aria-label={nameOf(stream)}>
      <h2><a href={`#/live/${stream.id}`}>{nameOf(stream)}</a> <State of={stats?.state ?? stream.state} /></h2>
      {drawn && drawn.width > 0
        ? <View feed={feed} width={drawn.width} height={drawn.height} compact />
        : <p class="dim">{feed.outputs.length > 0 ? "This pipeline has no output that can be drawn." : "Connecting …"}</p>}
      {drawn && !feed.hasEvents && <p class="dim">No events among its outputs: only what it found is drawn.</p>}
      <p class="dim">
        {stats && `${short(stats.rates.events_per_s)}ev/s, lag ${(stats.lag_us * 1e-3).toFixed(0)} ms`}
        {dropped > 0 && `, ${short(dropped)} dropped`}
        {stats?.recording?.on && <span class="recording">, recording</span>}
        {decision && <>, <b>{decision.label}</b> {(decision.confidence * 100).toFixed(0)} %</>}
      </p>
      {stats?.trouble && <Notice kind="bad">Held up: {stats.trouble}</Notice>}
      {stats?.failure && <Notice kind="bad">Failed: {stats.failure.detail}</Notice>}
      {stats?.source?.error && <Notice kind="bad">Source: {stats.source.error}</Notice>}
    </section>
  );
}
