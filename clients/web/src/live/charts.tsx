/** Curves of the last minute: rate by polarity, lag, reaction, what was dropped, load by stage, sparsity and energy. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { client, short, type Stats } from "../service.ts";
import { ofClass } from "./colour.ts";
import type { Feed } from "./feed.ts";

const EVERY_MS = 500, KEPT = 120;

interface Curve { name: string; values: (number | null)[] }
export interface Series { at: number[]; charts: Record<string, Curve[]> }

/** Ask for a stream's figures again and again, and make curves of them. */
export function useFigures(id: string, feed: Feed | null): { stats: Stats | null; series: Series } {
  const [stats, setStats] = useState<Stats | null>(null);
  const [series, setSeries] = useState<Series>({ at: [], charts: {} });
  useEffect(() => {
    let over = false, timer = 0, before: { stats: Stats; at: number; on: number; off: number } | null = null;
    const kept: Series = { at: [], charts: {} };
    const look = async () => {
      try {
        const found = (await client.request("GET", `/v1/streams/${id}/stats`)) as Stats;
        if (over) return;
        const at = performance.now() * 1e-3;
        if (before !== null) add(kept, at, figures(found, before, at, feed));
        before = { stats: found, at, on: feed?.on ?? 0, off: feed?.off ?? 0 };
        setStats(found);
        setSeries({ at: [...kept.at], charts: { ...kept.charts } });
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

type Point = Record<string, Record<string, number>>;

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

function add(kept: Series, at: number, point: Point): void {
  kept.at.push(at);
  for (const [chart, values] of Object.entries(point)) {
    const curves = (kept.charts[chart] ??= []);
    for (const [name, value] of Object.entries(values)) {
      let curve = curves.find((one) => one.name === name);
      if (curve === undefined) curves.push((curve = { name, values: new Array(kept.at.length - 1).fill(null) }));
      curve.values.push(value);
    }
  }
  for (const curves of Object.values(kept.charts)) {
    for (const curve of curves) {
      while (curve.values.length < kept.at.length) curve.values.push(null);
      if (curve.values.length > KEPT) curve.values.shift();
    }
  }
  if (kept.at.length > KEPT) kept.at.shift();
}

export function Charts({ series }: { series: Series }) {
  return (
    <div class="charts">
      {Object.entries(series.charts).filter(([, curves]) => curves.length > 0).map(([title, curves]) => <Chart key={title} title={title} at={series.at} curves={curves} />)}
    </div>
  );
}

function Chart({ title, at, curves }: { title: string; at: number[]; curves: Curve[] }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const names = curves.map((curve) => curve.name).join("\n");
  const options = useMemo(() => describe(curves.map((curve) => curve.name)), [names]);
  useEffect(() => {
    const place = box.current;
    if (place === null) return; // the page has gone on before this was shown
    const size = () => ({ width: Math.max(200, place.clientWidth), height: 130 });
    plot.current = new uPlot({ ...options, ...size() }, [at, ...curves.map((curve) => curve.values)] as uPlot.AlignedData, place);
    const resized = new ResizeObserver(() => plot.current?.setSize(size()));
    resized.observe(place);
    return () => {
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [options]);
  useEffect(() => plot.current?.setData([at.map((t) => t - at[at.length - 1]!), ...curves.map((curve) => curve.values)] as uPlot.AlignedData), [at]);
  const last = curves.map((curve) => `${curves.length > 1 ? `${curve.name} ` : ""}${short(curve.values[curve.values.length - 1] ?? 0).trim()}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>{title}: <span>{last}</span></figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${last}`} />
      {curves.length > 1 && <p class="keys">{curves.map((curve, i) => <span key={curve.name}><i class={`line ${colourOf(curve.name, i)}`} />{curve.name}</span>)}</p>}
    </figure>
  );
}

function colourOf(name: string, i: number): string {
  return name === "ON" ? "on" : name === "OFF" ? "off" : name === "all" ? "all" : `c${i % 10}`;
}

function describe(names: string[]): Omit<uPlot.Options, "width" | "height"> {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: () => getComputedStyle(document.documentElement).getPropertyValue("--dim").trim(), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return {
    title: "", legend: { show: false }, cursor: { show: false }, padding: [6, 6, 0, 0],
    scales: { x: { time: false }, y: { range: (_, _low, high) => [0, Math.max(1, high * 1.12)] } },
    axes: [{ ...axis, size: 20, values: (_, at) => at.map((t) => `${t} s`) }, { ...axis, size: 46, values: (_, at) => at.map((v) => short(v).trim()) }],
    series: [{}, ...names.map((name, i) => ({
      stroke: name === "ON" ? colour("--on") : name === "OFF" ? colour("--off") : name === "all" ? colour("--dim") : ofClass(i), width: 1.6, points: { show: false }, spanGaps: true,
    }))],
  };
}
