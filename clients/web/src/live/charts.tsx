/** Curves of the last minute, ten, or hour: rate by polarity, lag, reaction, what was dropped, load by stage, sparsity and energy. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { client, short, type Stats } from "../service.ts";
import { ofClass } from "./colour.ts";
import type { Feed } from "./feed.ts";
import { add, type Curve, type Point, type Series } from "./series.ts";

const EVERY_MS = 500;
const SPANS: [seconds: number, name: string][] = [[60, "1 min"], [600, "10 min"], [3600, "1 h"]];

/** Ask for a stream's figures again and again, and make curves of them. */
export function useFigures(id: string, feed: Feed | null): { stats: Stats | null; series: Series } {
  const [stats, setStats] = useState<Stats | null>(null);
  const [series, setSeries] = useState<Series>({ at: [], charts: {}, coarse: 0 });
  useEffect(() => {
    let over = false, timer = 0, before: { stats: Stats; at: number; on: number; off: number } | null = null;
    const kept: Series = { at: [], charts: {}, coarse: 0 };
    const look = async () => {
      try {
        const found = (await client.request("GET", `/v1/streams/${id}/stats`)) as Stats;
        if (over) return;
        const at = performance.now() * 1e-3;
        if (before !== null) add(kept, at, figures(found, before, at, feed));
        before = { stats: found, at, on: feed?.on ?? 0, off: feed?.off ?? 0 };
        setStats(found);
        setSeries({ ...kept, at: [...kept.at], charts: { ...kept.charts } });
      } catch {
        // The page says elsewhere that the service is away.
      }
      if (!over) timer = window.setTimeout(look, EVERY_MS);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [id, feed]);
  return { stats, series };
}

function figures(now: Stats, before: { stats: Stats; at: number; on: number; off: number }, at: number, feed: Feed | null): Point {
  const passed = Math.max(1e-3, at - before.at);
  const per = (a: number, b: number) => Math.max(0, (a - b) / passed);
  const rate: Record<string, number> = { all: per(now.events, before.stats.events) };
  if (feed?.hasEvents) {
    rate["ON"] = per(feed.on, before.on);
    rate["OFF"] = per(feed.off, before.off);
  }
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, n) => all + n, 0);
  const load = Object.fromEntries(Object.entries(now.stage_seconds).map(
    ([name, spent]) => [name, 100 * per(spent, before.stats.stage_seconds[name] ?? 0)]));
  const point: Point = {
    "Events per second": rate, "Lag, ms": { lag: now.lag_us * 1e-3 },
    "Dropped per second": { dropped: per(sum(now.dropped), sum(before.stats.dropped)) }, "Load, % of a core": load,
  };
  for (const [name, one] of Object.entries(now.reaction)) {
    if (one.p99_us === null || one.p50_us === null) continue;
    Object.assign((point["Reaction, ms (half, and 99 %)"] ??= {}), { [name]: one.p50_us * 1e-3, [`${name} 99 %`]: one.p99_us * 1e-3 });
  }
  for (const [name, costs] of Object.entries(now.costs)) {
    const old = before.stats.costs[name] ?? {};
    const share = (key: string) => (typeof costs[key] === "number" ? 100 * (costs[key] as number) : null);
    for (const [key, label] of [["activation_sparsity", "silent"], ["operation_sparsity", "spared"]] as const) {
      const value = share(key);
      if (value !== null) (point["Sparsity, %"] ??= {})[`${name} ${label}`] = value;
    }
    if (typeof costs["energy_uj"] === "number") {
      (point["Energy, µW"] ??= {})[name] = per(costs["energy_uj"] as number, Number(old["energy_uj"] ?? 0));
    }
  }
  return point;
}

export function Charts({ series }: { series: Series }) {
  const [span, setSpan] = useState(SPANS[0]![0]);
  return (
    <>
      <div class="tools" role="group" aria-label="How much the curves show">
        {SPANS.map(([seconds, name]) => <button key={name} aria-pressed={span === seconds} onClick={() => setSpan(seconds)}>{name}</button>)}
      </div>
      <div class="charts">
        {Object.entries(series.charts).filter(([, curves]) => curves.length > 0).map(([title, curves]) => <Chart key={title} title={title} series={series} curves={curves} span={span} />)}
      </div>
    </>
  );
}

function Chart({ title, series, curves, span }: { title: string; series: Series; curves: Curve[]; span: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hover, setHover] = useState<number | null>(null);
  const names = curves.map((curve) => curve.name).join("\n");
  const options = useMemo(() => describe(curves.map((curve) => curve.name), setHover), [names]);
  const now = series.at[series.at.length - 1] ?? 0, first = Math.max(0, series.at.findIndex((t) => t >= now - span));
  const data = [series.at.slice(first).map((t) => t - now), ...curves.map((curve) => curve.values.slice(first))] as uPlot.AlignedData;
  useEffect(() => {
    const place = box.current;
    if (place === null) return; // the page has gone on before this was shown
    const size = () => ({ width: Math.max(200, place.clientWidth), height: 130 });
    plot.current = new uPlot({ ...options, ...size() }, data, place);
    const resized = new ResizeObserver(() => plot.current?.setSize(size()));
    resized.observe(place);
    return () => {
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [options]);
  useEffect(() => plot.current?.setData(data), [series, span]);
  const at = hover !== null && hover < data[0].length ? hover : data[0].length - 1;
  const said = curves.map((curve, i) => `${curves.length > 1 ? `${curve.name} ` : ""}${short(data[i + 1]?.[at] ?? 0).trim()}`).join(", ");
  const when = hover === null ? "" : ` (${Math.round(-(data[0][at] ?? 0))} s ago)`;
  return (
    <figure class="chart">
      <figcaption>{title}{when}: <span>{said}</span></figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${said}`} />
      {curves.length > 1 && <p class="keys">{curves.map((curve, i) => <span key={curve.name}><i class={`line ${colourOf(curve.name, i)}`} />{curve.name}</span>)}</p>}
    </figure>
  );
}

function colourOf(name: string, i: number): string {
  return name === "ON" ? "on" : name === "OFF" ? "off" : name === "all" ? "all" : `c${i % 10}`;
}

function describe(names: string[], hover: (index: number | null) => void): Omit<uPlot.Options, "width" | "height"> {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: () => getComputedStyle(document.documentElement).getPropertyValue("--dim").trim(), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return {
    title: "", legend: { show: false }, cursor: { y: false, drag: { setScale: false }, points: { size: 5 } }, hooks: { setCursor: [(plot) => hover(plot.cursor.left! < 0 ? null : plot.cursor.idx ?? null)] }, padding: [6, 16, 0, 0],
    scales: { x: { time: false }, y: { range: (_, _low, high) => [0, Math.max(1, high * 1.12)] } },
    axes: [{ ...axis, size: 20, values: (_, at) => at.map((t) => (t <= -120 ? `${Math.round(t / 6) / 10} min` : `${t} s`)) }, { ...axis, size: 46, values: (_, at) => at.map((v) => short(v).trim()) }],
    series: [{}, ...names.map((name, i) => ({
      stroke: name === "ON" ? colour("--on") : name === "OFF" ? colour("--off") : name === "all" ? colour("--dim") : ofClass(i), width: 1.6, points: { show: false }, spanGaps: true,
    }))],
  };
}
