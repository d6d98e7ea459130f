/** A spike raster: when each neuron of a layer sent, over the last steps. */

import { useEffect, useRef } from "preact/hooks";
import type { Feed } from "./feed.ts";

const SPAN_US = 1_000_000, EVERY_MS = 100, HEIGHT = 180;

export function Raster({ feed, output }: { feed: Feed; output: { id: string; width: number; height: number } }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const neurons = output.width * output.height;
  useEffect(() => {
    const timer = setInterval(() => {
      const one = canvas.current;
      if (one !== null) draw(one, feed, neurons, output.width);
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [feed, output.id]);
  return (
    <section class="card" aria-labelledby="raster">
      <h2 id="raster">Spikes of {output.id.replace(/\.spikes$/, "")}</h2>
      <canvas ref={canvas} class="raster" height={HEIGHT} role="img" aria-label={`Spikes of ${neurons} neurons over the last second`} />
      <p class="dim">{neurons} neurons, upwards; the last second of stream time, to the right.</p>
    </section>
  );
}

function draw(canvas: HTMLCanvasElement, feed: Feed, neurons: number, width: number): void {
  if (canvas.width !== canvas.clientWidth) canvas.width = canvas.clientWidth;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = getComputedStyle(canvas).color;
  const newest = feed.spikes.span?.[1];
  if (newest === undefined) return;
  const tall = Math.max(1, canvas.height / neurons);
  feed.spikes.each(newest - SPAN_US, newest, (t, x, y) => {
    const neuron = y * width + x;
    context.fillRect(canvas.width * (1 - (newest - t) / SPAN_US) - 1.5, canvas.height * (1 - (neuron + 1) / neurons), 1.5, tall);
  });
}
