/** What is drawn over the events: arrows of the motion field, boxes of movers, marks of detections. */

import type { Output } from "../../../typescript/src/index.ts";
import { ofDirection } from "./colour.ts";
import type { Detections, Feed, Field, Movers } from "./feed.ts";
import type { ArrowScale } from "./scale.ts";
import type { Area } from "./surface.ts";

export const LASTS_US = 60_000; // an arrow stays for so long where none follows it
const SURE = 0.05, HEAD = 0.36, LEAST_HEAD = 0.12, MARK_US = 30_000;
const WARM_UP = 1, UNRELIABLE = 4, APERTURE = 16;

export interface Shown { fields: boolean; detections: boolean }

/** Draw what belongs to a moment; how many arrows and marks there were. */
export function drawOverlay(
  canvas: HTMLCanvasElement, area: Area, nowUs: number, feed: Feed, shown: Shown, arrows: ArrowScale, light: boolean,
): void {
  const ratio = Math.min(2, devicePixelRatio || 1);
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { willReadFrequently: true })!; // few lines: not worth a card's while
  context.clearRect(0, 0, width, height);
  const scale = width / area[2];
  context.setTransform(scale, 0, 0, scale, -area[0] * scale, -area[1] * scale);
  if (shown.detections) drawDetections(context, nowUs, feed.detections, feed.outputs, light, scale);
  if (shown.fields) {
    drawField(context, nowUs, feed.fields, feed.drawn("field")?.tile ?? 1, arrows, light, scale);
    drawMovers(context, nowUs, feed.movers, light, scale);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
}

function drawField(
  context: CanvasRenderingContext2D, nowUs: number, fields: Field[], tile: number, arrows: ArrowScale, light: boolean, scale: number,
): void {
  const i = newest(fields, nowUs), field = fields[i];
  if (field === undefined || nowUs - field.tUs > LASTS_US) return;
  arrows.follow(fields, i);
  context.lineWidth = Math.max(1.6 / scale, tile / 9);
  context.lineCap = "round";
  for (let k = 0; k < field.x.length; k++) {
    const confidence = field.confidence[k]!, vx = field.vx[k]!, vy = field.vy[k]!, speed = Math.hypot(vx, vy);
    if (confidence < SURE || speed === 0) continue;
    const length = tile * arrows.tiles(speed), ux = vx / speed, uy = vy / speed;
    const x = field.x[k]! + tile / 2, y = field.y[k]! + tile / 2;
    const tipX = x + (ux * length) / 2, tipY = y + (uy * length) / 2, head = Math.max(LEAST_HEAD * tile, HEAD * Math.min(length, tile));
    const doubted = (field.flags[k]! & (WARM_UP | UNRELIABLE)) !== 0;
    context.globalAlpha = (0.15 + 0.85 * confidence) * (doubted ? 0.5 : 1);
    context.setLineDash((field.flags[k]! & APERTURE) !== 0 ? [tile / 6, tile / 5] : []); // across itself alone it is sure
    context.strokeStyle = ofDirection(Math.atan2(vy, vx), light);
    context.beginPath();
    context.moveTo(x - (ux * length) / 2, y - (uy * length) / 2);
    context.lineTo(tipX, tipY);
    context.moveTo(tipX - head * (ux - 0.7 * uy), tipY - head * (uy + 0.7 * ux));
    context.lineTo(tipX, tipY);
    context.lineTo(tipX - head * (ux + 0.7 * uy), tipY - head * (uy - 0.7 * ux));
    context.stroke();
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

/** A box around each thing that moves by itself, in the colour of where it goes, with its number and its speed. */
function drawMovers(context: CanvasRenderingContext2D, nowUs: number, movers: Movers[], light: boolean, scale: number): void {
  const one = movers[newest(movers, nowUs)];
  if (one === undefined || nowUs - one.tUs > LASTS_US) return;
  context.lineWidth = 2 / scale;
  context.font = `${12 / scale}px system-ui`;
  for (let k = 0; k < one.x.length; k++) {
    context.strokeStyle = context.fillStyle = ofDirection(Math.atan2(one.vy[k]!, one.vx[k]!), light);
    context.strokeRect(one.x[k]!, one.y[k]!, one.width[k]!, one.height[k]!);
    const pxPerS = 1000 * Math.hypot(one.vx[k]!, one.vy[k]!);
    context.fillText(`${one.id[k]}: ${Number(pxPerS.toPrecision(2))} px/s`, one.x[k]! + 3 / scale, one.y[k]! + 13 / scale);
  }
}

/** Index of the last that is not after a moment, -1 where there is none. */
function newest(those: { tUs: number }[], nowUs: number): number {
  let i = those.length - 1;
  while (i >= 0 && those[i]!.tUs > nowUs) i--;
  return i;
}

function drawDetections(
  context: CanvasRenderingContext2D, nowUs: number, detections: Detections[], outputs: Output[], light: boolean, scale: number,
): void {
  const labels = outputs.find((output) => output.kind === "detections")?.labels ?? [];
  const side = Math.max(1.2, 3.5 / scale), rim = 1 / scale;
  for (let i = detections.length - 1; i >= 0; i--) {
    const one = detections[i]!;
    if (one.tUs > nowUs) continue;
    if (nowUs - one.tUs > MARK_US) break;
    context.globalAlpha = 0.8 * (1 - (nowUs - one.tUs) / MARK_US) + 0.2;
    // Squares with a rim against the ground: neither shade of the page, nor events below them, hides them.
    context.fillStyle = light ? "#fff" : "#000";
    for (let k = 0; k < one.x.length; k++) {
      context.fillRect(one.x[k]! + 0.5 - side / 2 - rim, one.y[k]! + 0.5 - side / 2 - rim, side + 2 * rim, side + 2 * rim);
    }
    for (let k = 0; k < one.x.length; k++) {
      const degrees = labels[one.label[k]!]?.direction_deg;
      context.fillStyle = degrees === null || degrees === undefined ? (light ? "#8a5a00" : "#f0e442") : ofDirection((degrees * Math.PI) / 180, light);
      context.fillRect(one.x[k]! + 0.5 - side / 2, one.y[k]! + 0.5 - side / 2, side, side);
    }
  }
  context.globalAlpha = 1;
}
