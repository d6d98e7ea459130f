/** Figures over time: the last minutes as they came, the rest of an hour in steps of ten seconds. */

export interface Curve { name: string; values: (number | null)[] }
export interface Series {
  at: number[];
  charts: Record<string, Curve[]>;
  /** So many of the oldest moments stand for ten seconds each. */
  coarse: number;
}
/** Values by chart and curve. */
export type Point = Record<string, Record<string, number>>;

const LONGEST_S = 3600, FINE_S = 120, STEP_S = 10;

/** Take in the figures of a moment, in seconds of a clock that only rises. */
export function add(kept: Series, at: number, point: Point): void {
  kept.at.push(at);
  for (const [chart, values] of Object.entries(point)) {
    const curves = (kept.charts[chart] ??= []);
    for (const [name, value] of Object.entries(values)) {
      let curve = curves.find((one) => one.name === name);
      if (curve === undefined) curves.push((curve = { name, values: new Array(kept.at.length - 1).fill(null) }));
      curve.values.push(value);
    }
  }
  const all = Object.values(kept.charts).flat();
  for (const curve of all) while (curve.values.length < kept.at.length) curve.values.push(null);
  const step = (k: number) => Math.floor(kept.at[k]! / STEP_S);
  // A step is made one moment when all of it is old enough.
  while (kept.at[kept.coarse]! < at - FINE_S - STEP_S) {
    let to = kept.coarse + 1;
    while (step(to) === step(kept.coarse)) to++;
    const n = to - kept.coarse;
    kept.at.splice(kept.coarse, n, mean(kept.at.slice(kept.coarse, to))!);
    for (const curve of all) curve.values.splice(kept.coarse, n, mean(curve.values.slice(kept.coarse, to)));
    kept.coarse++;
  }
  const old = kept.at.findIndex((t) => t >= at - LONGEST_S);
  if (old > 0) {
    kept.at.splice(0, old);
    kept.coarse = Math.max(0, kept.coarse - old);
    for (const curve of all) curve.values.splice(0, old);
  }
}

function mean(values: (number | null)[]): number | null {
  const known = values.filter((one) => one !== null);
  return known.length === 0 ? null : known.reduce((sum, one) => sum + one, 0) / known.length;
}
