/** Colours: of polarities from the style sheet, of directions from the wheel, of classes from a set that most eyes can tell apart. */

import type { Colour } from "./surface.ts";

/** A colour of the style sheet, 0 to 1. */
export function ofStyle(name: string): Colour {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const digits = text.replace("#", "");
  const at = (i: number) => parseInt(digits.slice(2 * i, 2 * i + 2), 16) / 255;
  return [at(0), at(1), at(2)];
}

/** The colour of a direction, 0 = to the right, growing clockwise as rows grow downwards. */
export function ofDirection(radians: number, light: boolean): string {
  const degrees = ((radians * 180) / Math.PI + 360) % 360;
  return `hsl(${degrees.toFixed(0)} 90% ${light ? 38 : 62}%)`;
}

const CLASSES = ["#e69f00", "#56b4e9", "#009e73", "#b8a200", "#cc79a7", "#d55e00", "#8da0cb", "#a6d854", "#b3b3b3", "#0072b2"];
export const ofClass = (index: number): string => CLASSES[index % CLASSES.length]!;
