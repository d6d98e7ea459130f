/** One job: its progress as it goes, then its figures, its video, its plots and its files. */

import { useEffect, useState } from "preact/hooks";
import { base, type Artifact, bytes, client, count, duration, inWords, type Job, short, when } from "../service.ts";
import { Figures, Notice, Progress, State } from "../ui.tsx";
import { JobActions } from "./list.tsx";

interface Summary {
  input?: { format?: string; width?: number; height?: number }; events?: number; duration_us?: number;
  rows?: Record<string, number>; digests?: Record<string, string>; repaired?: Record<string, number>; dropped?: Record<string, number>; filtered?: Record<string, number>;
  [key: string]: unknown;
}

export function JobPage({ id }: { id: string }) {
  const [job, setJob] = useState<Job | null>(null);
  const [problem, setProblem] = useState("");
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let changes: EventSource | null = null, over = false;
    setJob(null);
    setProblem("");
    void (async () => {
      try {
        const found = await client.request("GET", `/v1/jobs/${id}`);
        if (over) return;
        setJob(found);
      } catch (caught) {
        if (!over) setProblem(inWords(caught));
        return;
      }
      changes = new EventSource(`${base}/v1/jobs/${id}/events`);
      changes.addEventListener("job", ({ data }) => {
        const now = JSON.parse(data) as Job;
        setJob(now);
        if (!["queued", "running"].includes(now.state)) changes?.close();
      });
    })();
    return () => {
      over = true;
      changes?.close();
    };
  }, [id, turn]);
  if (job === null) return problem ? <Notice kind="bad">{problem}</Notice> : <p class="dim">Asking for the job …</p>;
  const video = job.artifacts.find((one) => one.name === "annotated.webm");
  const report = job.artifacts.find((one) => one.name === "report.html");
  return (
    <div>
      <p><a href="#/jobs">← Jobs</a></p>
      <h1 class="row"><span class="grow">{job.name}</span> <State of={job.state} /></h1>
      <p class="row dim">{when(job.created_s)}{job.attempts > 1 ? `, attempt ${job.attempts}` : ""}
        <JobActions job={job} done={(gone) => (gone ? (location.hash = "#/jobs") : setTurn((n) => n + 1))} /></p>
      {["queued", "running"].includes(job.state) && (
        <section class="card">
          <Progress label={`Progress of ${job.name}`} done={job.done} />
          <p>{job.state === "queued" ? "Queued." : `${job.eta_s === null ? "" : `${duration(job.eta_s)} left. `}${count(job.events ?? 0)} events so far.`}</p>
        </section>
      )}
      {job.error && <Notice kind="bad">{job.error}</Notice>}
      {job.history.map((one) => <p key={one.attempt} class="dim">Attempt {one.attempt}: {one.error}</p>)}
      {job.state === "done" && <Result job={job} video={video} report={report} />}
    </div>
  );
}

function Result({ job, video, report }: { job: Job; video: Artifact | undefined; report: Artifact | undefined }) {
  const [summary, setSummary] = useState<Summary | null>(null);
  useEffect(() => {
    const one = job.artifacts.find((artifact) => artifact.name === "summary.json");
    if (one) client.request("GET", one.url).then(setSummary, () => {});
  }, [job.id]);
  const counted = (values: Record<string, number> | undefined) =>
    Object.entries(values ?? {}).filter(([, n]) => n > 0).map(([why, n]) => `${count(n)} ${why.replaceAll("_", " ")}`).join(", ") || "nothing";
  const seconds = Number(summary?.duration_us ?? 0) * 1e-6;
  return (
    <div class="result">
      {summary && (
        <Figures of={[
          ["input", `${summary.input?.format ?? ""} ${summary.input?.width ?? "?"}×${summary.input?.height ?? "?"}`], ["events", count(Number(summary.events ?? 0))],
          ...(seconds > 0 ? [["length", duration(seconds)], ["rate", `${short(Number(summary.events ?? 0) / seconds)}ev/s`]] as [string, string][] : []),
          ...Object.entries(summary.rows ?? {}).map(([name, n]) => [name, `${count(n)} rows`] as [string, string]),
          ["repaired", counted(summary.repaired)], ["dropped", counted(summary.dropped)], ["filtered out", counted(summary.filtered)],
        ]} />
      )}
      {video && <video controls muted loop playsInline preload="metadata" src={video.url} aria-label={`${job.name} with what was found`} />}
      {report && <p><a class="button main" href={report.url} target="_blank" rel="noopener">Open the report</a> <span class="dim">rate, motion over time, kernels, what was repaired: one file that can be kept.</span></p>}
      <h2>Files</h2>
      <table>
        <thead><tr><th>name</th><th>size</th><th>SHA-256</th></tr></thead>
        <tbody>{job.artifacts.map((one) => (
          <tr key={one.name}><td><a href={one.url} download={one.name}>{one.name}</a></td><td>{bytes(one.bytes)}</td><td><code title={one.sha256}>{one.sha256.slice(0, 12)}…</code></td></tr>
        ))}</tbody>
      </table>
    </div>
  );
}
