/** Whether the service answers at all: said once for the whole page, and asked again until it does. */

import { useEffect, useState } from "preact/hooks";

const AGAIN_MS = 2000;
const watching = new Set<() => void>();
let away = false;

/** Whether it is away; whoever uses this is drawn anew when that changes. */
export function useAway(): boolean {
  const [, draw] = useState(0);
  useEffect(() => {
    const changed = () => draw((n) => n + 1);
    watching.add(changed);
    return () => void watching.delete(changed);
  }, []);
  return away;
}

/** It did not answer: from here on it is asked every two seconds whether it is back. */
export function gone(healthz: string): void {
  if (away) return;
  change(true);
  const look = () => fetch(healthz, { cache: "no-store" }).then((answer) => (answer.ok ? change(false) : later()), later);
  const later = () => void setTimeout(look, AGAIN_MS);
  later();
}

function change(now: boolean): void {
  away = now;
  for (const changed of watching) changed();
}
