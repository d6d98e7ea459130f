/** How long arrows are: in proportion to speed, so that an arrow of a tile's length stands for a round number of px/s. */

import type { Field } from "./feed.ts";

const FIELDS = 8, SURE = 0.3, LONGEST = 1.6, SHORTEST = 0.12;

export class ArrowScale {
  /** px/s of an arrow as long as a tile; 0 before the first field. */
  pxPerS = 0;

  /** Fit the newest fields up to index `newest`; what still fits stays, so that arrows do not jump. */
  follow(fields: Field[], newest: number): void {
    const speeds: number[] = [];
    for (let i = Math.max(0, newest - FIELDS); i <= newest; i++) {
      const field = fields[i]!;
      for (let k = 0; k < field.x.length; k++) if (field.confidence[k]! >= SURE) speeds.push(1000 * Math.hypot(field.vx[k]!, field.vy[k]!));
    }
    if (speeds.length === 0) return;
    const fast = speeds.sort((a, b) => a - b)[Math.floor(0.9 * (speeds.length - 1))]!;
    if (fast > 0 && (fast > this.pxPerS * 1.2 || fast < this.pxPerS * 0.3)) this.pxPerS = round(fast);
  }

  /** Length of an arrow in tiles. */
  tiles(pxPerMs: number): number {
    return this.pxPerS === 0 ? SHORTEST : Math.min(LONGEST, Math.max(SHORTEST, (1000 * pxPerMs) / this.pxPerS));
  }
}

/** The next 1, 2 or 5 times a power of ten. */
function round(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return (value <= power ? 1 : value <= 2 * power ? 2 : value <= 5 * power ? 5 : 10) * power;
}
