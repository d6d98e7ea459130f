/** Small parts that pages share. */

import type { ComponentChildren } from "preact";

export function Notice({ kind = "note", children }: { kind?: "note" | "bad" | "good"; children: ComponentChildren }) {
  return <p class={`notice ${kind}`} role={kind === "bad" ? "alert" : "status"}>{children}</p>;
}

/** What to do next, where there is nothing yet. */
export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return <div class="empty"><h2>{title}</h2>{children}</div>;
}

export function Progress({ label, done, of = 1 }: { label: string; done: number; of?: number }) {
  const share = of > 0 ? done / of : 0;
  return (
    <div class="progress">
      <progress aria-label={label} value={share} max={1} />
      <span>{Math.round(share * 100)} %</span>
    </div>
  );
}

export function Figures({ of }: { of: [string, string][] }) {
  return (
    <dl class="figures">
      {of.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

export function State({ of }: { of: string }) {
  return <span class={`state ${of}`}>{of}</span>;
}
