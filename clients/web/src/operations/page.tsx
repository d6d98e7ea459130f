/** Service: whether it takes work, the streams that it keeps open by itself, and whom it tells answers. */

import type { ComponentChildren } from "preact";
import { Refused } from "../../../typescript/src/index.ts";
import { base, bytes, count, inWords, type Receiver, type Standing, useAsked, when } from "../service.ts";
import { Notice, State } from "../ui.tsx";

const EVERY_MS = 2000;

export function ServicePage() {
  const ready = useAsked<{ status: string }>("/readyz", EVERY_MS);
  const standing = useAsked<{ autostart: Standing[] }>("/v1/autostart", EVERY_MS);
  const receivers = useAsked<{ publishers: Receiver[] }>("/v1/publishers", EVERY_MS);
  return (
    <div class="operations">
      <h1>Service</h1>
      <p class="dim">Its requests and answers: <a href="#/api">REST API</a>.</p>
      <Readiness problem={ready.problem} known={ready.value !== null} />
      <Part title="Streams that it keeps open" problem={standing.problem} rows={standing.value?.autostart}
        none={<>None: the setting <code>autostart</code> lists them.</>}>
        <StandingTable streams={standing.value?.autostart ?? []} />
      </Part>
      <Part title="Receivers of answers" problem={receivers.problem} rows={receivers.value?.publishers}
        none={<>None: the setting <code>publish</code> lists MQTT brokers and webhooks.</>}>
        <Receivers of={receivers.value?.publishers ?? []} />
      </Part>
      <p class="dim">For machines: <a href={`${base}/metrics`}>figures for Prometheus</a>, <a href={`${base}/v1/openapi.json`}>the API</a>.</p>
    </div>
  );
}

function Readiness({ problem, known }: { problem: unknown; known: boolean }) {
  if (problem instanceof Refused && problem.status === 503) return <Notice kind="bad">{inWords(problem)}</Notice>;
  if (problem !== null) return <Notice kind="bad">{inWords(problem)}</Notice>;
  return known ? <Notice kind="good">Ready.</Notice> : <p class="dim">Asking …</p>;
}

function Part({ title, problem, rows, none, children }: {
  title: string; problem: unknown; rows: unknown[] | undefined; none: ComponentChildren; children: ComponentChildren;
}) {
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      {problem !== null && <Notice kind="bad">{inWords(problem)}</Notice>}
      {rows !== undefined && (rows.length === 0 ? <p class="dim">{none}</p> : <div class="wide">{children}</div>)}
    </section>
  );
}

function StandingTable({ streams }: { streams: Standing[] }) {
  return (
    <table>
      <thead><tr><th>Name</th><th>Now</th><th>Opened</th><th>Trouble</th></tr></thead>
      <tbody>
        {streams.map((one) => (
          <tr key={one.name}>
            <td><b>{one.name}</b></td>
            <td>{one.stream ? <a href={`#/live/${one.stream}`}>{one.stream.slice(0, 8)}</a> : "not open"}</td>
            <td>{count(one.opened)}</td>
            <td class={one.error ? "problem" : "dim"}>{one.error ?? "none"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Receivers({ of }: { of: Receiver[] }) {
  return (
    <table>
      <thead><tr><th>Name</th><th>Address</th><th>State</th><th>Sent</th><th>Waiting</th><th>Lost</th><th>Trouble</th></tr></thead>
      <tbody>
        {of.map((one) => (
          <tr key={one.name}>
            <td><b>{one.name}</b></td>
            <td>{one.to}</td>
            <td><State of={one.state} /></td>
            <td>{count(one.sent)}{one.last_sent_s !== null && <small> last {when(one.last_sent_s)}</small>}</td>
            <td>{one.waiting === 0 ? "none" : `${count(one.waiting)}, ${bytes(one.waiting_bytes)}`}</td>
            <td>{lost(one)}</td>
            <td class={one.error ? "problem" : "dim"}>{one.error ?? "none"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function lost(one: Receiver): string {
  const parts = [[one.dropped, "dropped"], [one.refused, "refused"], [one.lost_rows, "rows overwritten"]] as const;
  return parts.filter(([n]) => n > 0).map(([n, why]) => `${count(n)} ${why}`).join(", ") || "none";
}
