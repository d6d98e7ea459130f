/** The canvas: events that fade, arrows and marks over them; zoom, drag, pause, step back, and what a pixel saw. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Notice } from "../ui.tsx";
import { ofStyle } from "./colour.ts";
import { type Feed, seconds } from "./feed.ts";
import { drawOverlay, LASTS_US } from "./overlay.ts";
import { ArrowScale } from "./scale.ts";
import { type Area, NoWebGl, Surface } from "./surface.ts";

const REMEMBERED = 8; // a pixel is dark after so many time constants
const TELL_MS = 250;

export interface Timing { fps: number; dropped: number }

/** `compact`: the picture alone, without what one sets. */
export function View({ feed, width, height, compact = false }: { feed: Feed; width: number; height: number; compact?: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const surface = useRef<Surface | null>(null);
  const arrows = useMemo(() => new ArrowScale(), [feed]);
  const [tauMs, setTau] = useState(30);
  const [pausedUs, setPaused] = useState<number | null>(null);
  const [area, setArea] = useState<Area>([0, 0, width, height]);
  const [shown, setShown] = useState({ fields: true, detections: false });
  const [problem, setProblem] = useState("");
  const [generation, setGeneration] = useState(0);
  const [pointer, setPointer] = useState<[number, number] | null>(null);
  const [told, setTold] = useState({ fps: 0, nowUs: 0, shown: 0, left: 0, read: "", pxPerS: 0 });
  // What the drawing loop reads: it must not begin anew with every state.
  const now = useRef({ tauMs, pausedUs, area, shown, pointer });
  now.current = { tauMs, pausedUs, area, shown, pointer };

  useEffect(() => {
    let drawn = 0, since = performance.now(), frame = 0, before = { shown: feed.shown, left: feed.left };
    let rebuilt = "", overlaid = "";
    try {
      surface.current = new Surface(canvas.current!, width, height);
    } catch (caught) {
      if (!(caught instanceof NoWebGl)) throw caught;
      setProblem(caught.message);
      return;
    }
    const one = surface.current;
    one.clear(feed.nowUs);
    let colours = readColours();
    const draw = () => {
      if (overlay.current === null) return; // the page has gone on
      frame = requestAnimationFrame(draw);
      const { tauMs, pausedUs, area, shown } = now.current;
      const fresh = feed.take();
      feed.held = pausedUs !== null;
      if (pausedUs === null) {
        if (rebuilt || fresh === null) rebuild(one, feed, feed.nowUs, tauMs);
        else for (const rows of fresh) one.events(rows.columns["t"]!, rows.columns["x"]!, rows.columns["y"]!, rows.columns["p"]!);
        rebuilt = "";
      } else if (rebuilt !== `${pausedUs} ${tauMs}`) {
        rebuild(one, feed, pausedUs, tauMs);
        rebuilt = `${pausedUs} ${tauMs}`;
      }
      // Behind its end nothing fades any more.
      const nowUs = pausedUs ?? (feed.over ? feed.span[1] : feed.nowUs);
      one.draw(nowUs, tauMs, area, colours.on, colours.off, colours.ground);
      const newestField = Math.max(feed.fields[feed.fields.length - 1]?.tUs ?? 0, feed.movers[feed.movers.length - 1]?.tUs ?? 0);
      const marks = shown.detections || !feed.hasEvents;
      const over = [area.join(), shown.fields, marks, colours.light, newestField, nowUs - newestField > LASTS_US,
        marks || pausedUs !== null ? nowUs : 0, overlay.current.clientWidth].join(" ");
      if (over !== overlaid) {
        overlaid = over;
        drawOverlay(overlay.current, area, nowUs, feed, { fields: shown.fields, detections: marks }, arrows, colours.light);
      }
      drawn += 1;
      const passed = performance.now() - since;
      if (passed >= TELL_MS) {
        colours = readColours();
        setTold({
          fps: (drawn * 1000) / passed, nowUs, read: readOut(one, now.current.pointer, nowUs),
          shown: feed.shown - before.shown, left: feed.left - before.left, pxPerS: arrows.pxPerS,
        });
        canvas.current?.setAttribute("data-drawn", String(Number(canvas.current.getAttribute("data-drawn")) + drawn));
        before = { shown: feed.shown, left: feed.left };
        drawn = 0;
        since = performance.now();
      }
    };
    frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  }, [feed, width, height, generation]);

  useEffect(() => {
    const place = canvas.current!;
    const lost = (event: Event) => event.preventDefault();
    const back = () => setGeneration((n) => n + 1);
    place.addEventListener("webglcontextlost", lost);
    place.addEventListener("webglcontextrestored", back);
    return () => {
      place.removeEventListener("webglcontextlost", lost);
      place.removeEventListener("webglcontextrestored", back);
      feed.held = false;
      surface.current?.close();
    };
  }, [feed]);

  useEffect(() => setArea([0, 0, width, height]), [width, height]);

  const zoom = (factor: number, x = area[0] + area[2] / 2, y = area[1] + area[3] / 2) =>
    setArea(([left, top, w, h]) => {
      const scale = Math.min(1, Math.max(8 / width, (w / width) / factor)), wide = width * scale, high = height * scale;
      return within([x - ((x - left) * wide) / w, y - ((y - top) * high) / h, wide, high], width, height);
    });
  const span = feed.span;
  const pause = () => setPaused((at) => (at === null ? feed.nowUs : null));
  const step = (us: number) => {
    const [oldest, newest] = feed.span;
    setPaused((at) => {
      const from = at ?? feed.nowUs; // a watermark may be ahead of the last event
      return Math.min(Math.max(newest, from), Math.max(oldest, from + us));
    });
  };
  const keys = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
    const moves: Record<string, () => void> = {
      " ": pause, ArrowLeft: () => step(-5000), ArrowRight: () => step(5000), "+": () => zoom(1.5), "=": () => zoom(1.5),
      "-": () => zoom(1 / 1.5), "0": () => setArea([0, 0, width, height]),
    };
    const move = moves[event.key];
    if (move) {
      event.preventDefault();
      move();
    }
  };
  const drag = useRef<[number, number] | null>(null);
  const place = (event: PointerEvent | WheelEvent): [number, number] => {
    const box = canvas.current!.getBoundingClientRect();
    return [area[0] + ((event.clientX - box.left) / box.width) * area[2], area[1] + ((event.clientY - box.top) / box.height) * area[3]];
  };
  const moved = (event: PointerEvent) => {
    setPointer(place(event));
    if (event.buttons === 0) drag.current = null;
    if (drag.current === null) return;
    const [x, y] = place(event);
    setArea(([left, top, w, h]) => within([left + drag.current![0] - x, top + drag.current![1] - y, w, h], width, height));
  };

  const thinned = told.left > 0 ? `showing 1 of ${Math.max(2, Math.round((told.shown + told.left) / Math.max(1, told.shown)))} events` : "";
  return (
    <div class="view">
      {problem && <Notice kind="bad">{problem}</Notice>}
      <div class="stage" style={{ aspectRatio: `${width} / ${height}`, width: `min(100%, calc(76vh * ${width / height}))` }} tabIndex={0} role="application" onKeyDown={keys}
        aria-label="Events of the stream. Space pauses, left and right step, plus and minus zoom, 0 shows all."
        onWheel={(event) => { if (!event.ctrlKey && document.activeElement !== event.currentTarget) return; event.preventDefault(); zoom(event.deltaY < 0 ? 1.25 : 0.8, ...place(event)); }}
        onPointerDown={(event) => { drag.current = place(event); (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId); }}
        onPointerUp={() => (drag.current = null)} onPointerCancel={() => (drag.current = null)} onPointerMove={moved} onPointerLeave={() => setPointer(null)}>
        <canvas ref={canvas} class="events" data-drawn="0" />
        <canvas ref={overlay} class="over" />
        <span class="corner left">{pausedUs === null ? "" : "paused · "}{seconds(told.nowUs)}</span>
        <span class="corner right">{told.read || thinned}</span>
      </div>
      {!compact && <div class="tools" role="group" aria-label="View">
        <button onClick={pause} aria-pressed={pausedUs !== null}>{pausedUs === null ? "Pause" : "Go on"}</button>
        <button onClick={() => step(-5000)} aria-label="5 ms back">−5 ms</button>
        <button onClick={() => step(5000)} aria-label="5 ms on" disabled={pausedUs === null}>+5 ms</button>
        <label class="slide">Time
          <input type="range" min={span[0]} max={Math.max(span[1], span[0] + 1)} step={1000} value={pausedUs ?? span[1]} disabled={span[1] <= span[0]}
            aria-valuetext={seconds(pausedUs ?? feed.nowUs)} onInput={(event) => setPaused(Number(event.currentTarget.value))} />
        </label>
        <label class="slide">Fade {tauMs} ms
          <input type="range" min={1} max={300} value={tauMs} onInput={(event) => setTau(Number(event.currentTarget.value))} />
        </label>
        <button onClick={() => zoom(1.5)} aria-label="Zoom in">+</button>
        <button onClick={() => zoom(1 / 1.5)} aria-label="Zoom out">−</button>
        <button onClick={() => setArea([0, 0, width, height])}>All</button>
        <label class="tick"><input type="checkbox" checked={shown.fields} onChange={() => setShown({ ...shown, fields: !shown.fields })} />Arrows</label>
        <label class="tick"><input type="checkbox" checked={shown.detections} onChange={() => setShown({ ...shown, detections: !shown.detections })} />Detections</label>
        <span class="legend"><i class="on" />ON <i class="off" />OFF</span>
        <span class="fps">{told.fps.toFixed(0)} frames/s{thinned && told.read ? ` · ${thinned}` : ""}</span>
      </div>}
      {!compact && shown.fields && feed.drawn("field") && <ArrowLegend pxPerS={told.pxPerS} movers={feed.drawn("movers") !== undefined} />}
    </div>
  );
}

/** What arrows and boxes mean. */
function ArrowLegend({ pxPerS, movers }: { pxPerS: number; movers: boolean }) {
  return (
    <p class="legend arrows">
      <Wheel /> colour: direction
      {pxPerS > 0 && <span><Arrow /> as long as a tile: {pxPerS} px/s</span>}
      <span class="faded"><Arrow /> less sure</span>
      <span><Arrow dashed /> movement along the edge unknown</span>
      <span class="half"><Arrow /> the first 0.3 s, or video too slow for it</span>
      {movers && <span><i class="box" /> moves by itself</span>}
    </p>
  );
}

function Arrow({ dashed = false }: { dashed?: boolean }) {
  return (
    <svg class="arrow" width="24" height="10" viewBox="0 0 24 10" aria-hidden="true">
      <path d="M1 5H22M17 1L22 5L17 9" stroke-dasharray={dashed ? "4 3" : undefined} />
    </svg>
  );
}

function readColours() {
  const ground = ofStyle("--view");
  return { on: ofStyle("--on"), off: ofStyle("--off"), ground, light: ground[0] + ground[1] + ground[2] > 1.5 };
}

function rebuild(surface: Surface, feed: Feed, atUs: number, tauMs: number): void {
  surface.clear(atUs - REMEMBERED * tauMs * 1e3);
  feed.history.each(atUs - REMEMBERED * tauMs * 1e3, atUs, (t, x, y, p) => surface.event(t, x, y, p));
}

function readOut(surface: Surface, pointer: [number, number] | null, nowUs: number): string {
  if (pointer === null) return "";
  const [x, y] = pointer.map(Math.floor) as [number, number];
  if (x < 0 || y < 0 || x >= surface.width || y >= surface.height) return "";
  const seen = surface.look(x, y);
  return `x ${x}, y ${y}: ${seen === null || seen[0] > nowUs ? "no event yet" : `${seen[1] ? "ON" : "OFF"} ${((nowUs - seen[0]) * 1e-3).toFixed(1)} ms ago`}`;
}

function within([left, top, w, h]: Area, width: number, height: number): Area {
  return [Math.min(width - w, Math.max(0, left)), Math.min(height - h, Math.max(0, top)), w, h];
}

/** Which colour is which direction. */
function Wheel() {
  return (
    <svg class="wheel" width="22" height="22" viewBox="-9 -9 18 18" aria-hidden="true">
      {Array.from({ length: 12 }, (_, i) => {
        const [a, b] = [(i - 0.55) * 30, (i + 0.55) * 30].map((degrees) => (degrees * Math.PI) / 180) as [number, number];
        return <path key={i} class={`d${i}`} d={`M0 0L${9 * Math.cos(a)} ${9 * Math.sin(a)}A9 9 0 0 1 ${9 * Math.cos(b)} ${9 * Math.sin(b)}Z`} />;
      })}
    </svg>
  );
}
