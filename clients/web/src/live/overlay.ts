/** What is drawn over the events: arrows of the motion field, marks of detections. */

import type { Output } from "../../../typescript/src/index.ts";
import { ofDirection } from "./colour.ts";
import type { Detections, Field } from "./feed.ts";
import type { Area } from "./surface.ts";

export const LASTS_US = 60_000; // an arrow stays for so long where none follows it
const SURE = 0.05, MARK_US = 20_000;
const WARM_UP = 1, UNRELIABLE = 4, APERTURE = 16;

export interface Shown { fields: boolean; detections: boolean }

/** Draw what belongs to a moment; how many arrows and marks there were. */
export function drawOverlay(
  canvas: HTMLCanvasElement, area: Area, nowUs: number, fields: Field[], detections: Detections[], outputs: Output[],
  shown: Shown, light: boolean,
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
  if (shown.detections) drawDetections(context, nowUs, detections, outputs, light, scale);
  if (shown.fields) drawField(context, nowUs, fields, light, scale);
  context.setTransform(1, 0, 0, 1, 0, 0);
}

function drawField(context: CanvasRenderingContext2D, nowUs: number, fields: Field[], light: boolean, scale: number): void {
  let i = fields.length - 1;
  while (i >= 0 && fields[i]!.tUs > nowUs) i--;
  const field = fields[i];
  if (field === undefined || nowUs - field.tUs > LASTS_US) return;
  const tile = tileOf(field);
  context.lineWidth = Math.max(1.6 / scale, tile / 9);
  context.lineCap = "round";
  for (let k = 0; k < field.x.length; k++) {
    const confidence = field.confidence[k]!, vx = field.vx[k]!, vy = field.vy[k]!, speed = Math.hypot(vx, vy);
    if (confidence < SURE || speed === 0) continue;
    const length = tile * Math.min(1.1, 0.45 + speed), ux = vx / speed, uy = vy / speed;
    const x = field.x[k]! + tile / 2, y = field.y[k]! + tile / 2;
    const tipX = x + (ux * length) / 2, tipY = y + (uy * length) / 2, head = length * 0.36;
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

/** The distance of neighbouring tiles, of which at least one pair has arrows. */
function tileOf(field: Field): number {
  let tile = Infinity;
  const seen = [...new Set([...field.x, ...field.y])].sort((a, b) => a - b);
  for (let i = 1; i < seen.length; i++) tile = Math.min(tile, seen[i]! - seen[i - 1]!);
  return Number.isFinite(tile) ? tile : 16;
}

function drawDetections(
  context: CanvasRenderingContext2D, nowUs: number, detections: Detections[], outputs: Output[], light: boolean, scale: number,
): void {
  const labels = outputs.find((output) => output.kind === "detections")?.labels ?? [];
  const side = Math.max(1, 2.5 / scale);
  for (let i = detections.length - 1; i >= 0; i--) {
    const one = detections[i]!;
    if (one.tUs > nowUs) continue;
    if (nowUs - one.tUs > MARK_US) break;
    context.globalAlpha = 0.85 * (1 - (nowUs - one.tUs) / MARK_US) + 0.1;
    for (let k = 0; k < one.x.length; k++) {
      const degrees = labels[one.label[k]!]?.direction_deg;
      context.fillStyle = degrees === null || degrees === undefined ? "#f0e442" : ofDirection((degrees * Math.PI) / 180, light);
      context.fillRect(one.x[k]! + 0.5 - side / 2, one.y[k]! + 0.5 - side / 2, side, side);
    }
  }
  context.globalAlpha = 1;
}
