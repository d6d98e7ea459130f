/** How good a model is, in one line: what its own test says, beside what guessing would give. */

import type { Model } from "../service.ts";

interface Field { degrees?: number; degrees_90?: number; within_30?: number }

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

export function quality(model: Model): string {
  const { class: right, chance, ideal_and_clean: field } = (model.accuracy ?? {}) as Record<string, unknown>;
  if (typeof right === "number") {
    return `${percent(right)} of its tests right` + (typeof chance === "number" ? ` (guessing: ${percent(chance)})` : "");
  }
  const { degrees, degrees_90: most, within_30: speed } = (field ?? {}) as Field;
  if (degrees === undefined || most === undefined || speed === undefined) return "";
  return `direction within ${degrees}° in half, ${most}° in nine of ten; speed within 30 % in ${percent(speed)}`;
}
