/** Live: the streams there are, and one of them as it goes on. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { client, count, inWords, type Reaction, short, type StreamCard, useAsked } from "../service.ts";
import { playSample } from "../start/sample.ts";
import { Empty, Figures, Notice, State } from "../ui.tsx";
import { Charts, useFigures } from "./charts.tsx";
import { Feed, isRaster, seconds } from "./feed.ts";
import { nameOf } from "./names.ts";
import { Raster } from "./raster.tsx";
import { Recording } from "./recording.tsx";
import { Timeline } from "./timeline.tsx";
import { Together } from "./together.tsx";
import { View } from "./view.tsx";

const AT_WORK = new Set(["created", "open", "draining"]);
const ALL = "all";

export function LivePage({ id }: { id: string }) {
  const { value, problem } = useAsked<{ streams: StreamCard[] }>("/v1/streams?limit=200", 1000);
  const streams = [...(value?.streams ?? [])].sort((a, b) => Number(AT_WORK.has(b.state)) - Number(AT_WORK.has(a.state)) || b.created_s - a.created_s);
  const chosen = streams.find((stream) => stream.id === id) ?? (id ? undefined : streams.find((stream) => AT_WORK.has(stream.state)));
  const open = streams.filter((stream) => AT_WORK.has(stream.state));
  if (value === null) return problem === null ? <p class="dim">Asking for the streams …</p> : <Notice kind="bad">{inWords(problem)}</Notice>;
  return (
    <div class="live">
      {problem !== null && <Notice kind="bad">{inWords(problem)}</Notice>}
      {streams.length > 0 && <Streams streams={streams} chosen={id === ALL ? ALL : chosen?.id} open={open.length} />}
      {id === ALL ? <Together streams={open} /> : chosen ? <Stream key={chosen.id} stream={chosen} /> : <Nothing known={!id} any={streams.length > 0} />}
    </div>
  );
}

function Nothing({ known, any }: { known: boolean; any: boolean }) {
  const [problem, setProblem] = useState("");
  const play = async () => {
    try {
      location.hash = `#/live/${await playSample()}`;
    } catch (caught) {
      setProblem(inWords(caught));
    }
  };
  return (
    <Empty title={known ? "No stream is open" : "There is no stream of this name"}>
      <p>{any ? "Choose one above, or open another:" : "Streams appear here while events come in."}</p>
      <p class="row">
        <button class="main" onClick={play}>Play the bundled sample</button>
        <a class="button" href="#/start">Open a file, a camera or a webcam</a>
      </p>
      <p class="dim">From Python: <code>pip install ./clients/python</code>, then <code>Client().stream("view", sensor=(346, 260))</code>.</p>
      {problem && <Notice kind="bad">{problem}</Notice>}
    </Empty>
  );
}

function Streams({ streams, chosen, open }: { streams: StreamCard[]; chosen: string | undefined; open: number }) {
  return (
    <nav class="streams" aria-label="Streams">
      {open > 1 && <a href={`#/live/${ALL}`} aria-current={chosen === ALL ? "true" : undefined}><b>All</b><small>{open} streams side by side</small></a>}
      {streams.map((stream) => (
        <a key={stream.id} href={`#/live/${stream.id}`} aria-current={stream.id === chosen ? "true" : undefined}>
          <b>{nameOf(stream)}</b> <State of={stream.state} />
          <small>{stream.sensor.width}×{stream.sensor.height} · {stream.outputs.join(", ")}</small>
        </a>
      ))}
    </nav>
  );
}

const PARTS: [string, string][] = [
  ["wait", "until the window was over"], ["hold", "until what came next showed it"], ["queue", "before the work began"],
  ["compute", "the work"], ["outbox", "until it was sent"],
];

/** From an event's arrival to the answer that covers it, by output and part. */
function Reactions({ of }: { of: Record<string, Reaction> }) {
  const known = Object.entries(of).filter(([, one]) => one.events > 0);
  if (known.length === 0) return null;
  const ms = (us: number | null | undefined) => (us === null || us === undefined ? "–" : (us * 1e-3).toFixed(us < 10_000 ? 1 : 0));
  return (
    <div class="wide" tabIndex={0} role="group" aria-label="Reaction times">
      <table class="reactions">
        <caption>Reaction time, ms: from an event's arrival to the answer that covers it</caption>
        <thead><tr><th>answer</th><th>half</th><th>99 %</th>{PARTS.map(([part, what]) => <th key={part} title={`mean, ${what}`}>{part}</th>)}</tr></thead>
        <tbody>
          {known.map(([name, one]) => (
            <tr key={name}><th>{name}</th><td>{ms(one.p50_us)}</td><td>{ms(one.p99_us)}</td>{PARTS.map(([part]) => <td key={part}>{ms(one.parts_us[part])}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Stream({ stream }: { stream: StreamCard }) {
  const [, setTurn] = useState(0);
  const ended = useMemo(() => !AT_WORK.has(stream.state), [stream.id]); // when the page met it
  const feed = useMemo(() => new Feed(stream.id, () => setTurn((n) => n + 1), ended), [stream.id]);
  useEffect(() => () => feed.close(), [feed]);
  const { stats, series } = useFigures(stream.id, feed);
  const [problem, setProblem] = useState("");
  const drawn = feed.picture;
  const raster = feed.outputs.find((output) => isRaster(output.id));
  const dropped = Object.entries(stats?.dropped ?? {}).filter(([, n]) => n > 0);
  const end = async () => {
    if (!confirm("End this stream and forget its results?")) return;
    try {
      await client.request("DELETE", `/v1/streams/${stream.id}`);
      location.hash = "#/live";
    } catch (caught) {
      setProblem(inWords(caught));
    }
  };
  return (
    <div class="stream">
      <h1 class="quiet-title">Stream {stream.name ?? stream.id.slice(0, 8)} <State of={stats?.state ?? stream.state} />
        <button class="quiet" onClick={end}>{AT_WORK.has(stats?.state ?? stream.state) ? "Stop and delete" : "Delete"}</button></h1>
      {problem && <Notice kind="bad">{problem}</Notice>}
      {stats?.trouble && <Notice kind="bad">Held up: {stats.trouble}</Notice>}
      {stats?.failure && <Notice kind="bad">Failed: {stats.failure.detail}</Notice>}
      {stats?.source?.error && <Notice kind="bad">Source: {stats.source.error}</Notice>}
      {feed.outputs.length > 0 && !feed.hasEvents && (
        <Notice>This pipeline answers without its events{drawn ? ": what it found is drawn instead" : ", so that there is no picture"}.
          To see both, name a stage that passes events among its outputs, as the preset <code>view</code> does.</Notice>
      )}
      {feed.over && <Notice>The stream has ended: this is how it ended. All its results can be read from Python (<code>client.results("{stream.id}", start=True)</code>) until it is deleted.</Notice>}
      <div class="columns">
        <div>
          {drawn && drawn.width > 0 && <View feed={feed} width={drawn.width} height={drawn.height} />}
          <Recording id={stream.id} of={stats?.recording ?? null} running={AT_WORK.has(stats?.state ?? stream.state)} />
          <Timeline decisions={feed.decisions} />
          {raster && <Raster feed={feed} output={raster} />}
          {feed.notes.length > 0 && (
            <div class="notes" role="log" aria-label="Messages">
              {feed.notes.map((note) => <p key={note.at + note.text} class={note.bad ? "bad" : ""}>{new Date(note.at).toLocaleTimeString()} {note.text}{note.times > 1 && ` (${note.times} times)`}</p>)}
            </div>
          )}
        </div>
        <aside>
          {stats && <Figures of={[
            ["events", count(stats.events)], ["rate", `${short(stats.rates.events_per_s)}ev/s`],
            ["stream time", stats.watermark_us === null ? "–" : seconds(stats.watermark_us)],
            ["lag", `${(stats.lag_us * 1e-3).toFixed(1)} ms`],
            ["dropped", dropped.length === 0 ? "none" : dropped.map(([why, n]) => `${count(n)} ${why.replaceAll("_", " ")}`).join(", ")],
            ...Object.entries(stats.filtered).map(([name, n]) => [`${name} took out`, count(n)] as [string, string]),
            ...(stats.stride.most > 1 ? [["evaluated", stats.stride.now === 1 ? "everywhere" : `at 1 of ${stats.stride.now} places`] as [string, string]] : []),
            ...Object.entries(stats.rows).map(([name, n]) => [name, `${count(n)} rows`] as [string, string]),
          ]} />}
          {stats && <Reactions of={stats.reaction} />}
          {!ended && <Charts series={series} />}
        </aside>
      </div>
    </div>
  );
}
