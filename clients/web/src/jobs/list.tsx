/** Jobs: what was uploaded, how far it is, what came of it. */

import { useState } from "preact/hooks";
import { base, bytes, client, duration, inWords, type Job, useAsked, when } from "../service.ts";
import { Empty, Notice, Progress, State } from "../ui.tsx";

const AT_WORK = new Set(["queued", "running"]);

export function JobsPage() {
  const { value, problem, again } = useAsked<{ jobs: Job[] }>("/v1/jobs?limit=200&newest=true", 1500);
  const jobs = value?.jobs ?? [];
  return (
    <div>
      <h1>Jobs</h1>
      {problem !== null && <Notice kind="bad">{inWords(problem)}</Notice>}
      {value !== null && jobs.length === 0 && (
        <Empty title="No file was analyzed yet">
          <p><a class="button main" href="#/start">Analyze a file</a></p>
          <p class="dim">Or <code>curl -F file=@video.mp4 {base}/v1/jobs</code></p>
        </Empty>
      )}
      <ul class="jobs">
        {jobs.map((job) => (
          <li key={job.id} class="card">
            <div class="row">
              <a class="grow" href={`#/jobs/${job.id}`}><b>{job.name}</b></a>
              <State of={job.state} /><span class="dim">{when(job.created_s)}</span>
              <JobActions job={job} done={again} />
            </div>
            {AT_WORK.has(job.state) && <Progress label={`Progress of ${job.name}`} done={job.done} />}
            {job.state === "running" && job.eta_s !== null && <p class="dim">{duration(job.eta_s)} left</p>}
            {job.error && <p class="problem">{job.error}</p>}
            {job.artifacts.length > 0 && <p class="dim">{job.artifacts.length} files, {bytes(job.artifacts.reduce((sum, one) => sum + one.bytes, 0))}</p>}
          </li>
        ))}
      </ul>
    </div>
  );
}

export function JobActions({ job, done }: { job: Job; done: (gone: boolean) => void }) {
  const [problem, setProblem] = useState("");
  const act = (method: string, path: string, gone = false) => async () => {
    try {
      await client.request(method, path);
      done(gone);
    } catch (caught) {
      setProblem(inWords(caught));
    }
  };
  return (
    <>
      {AT_WORK.has(job.state)
        ? <button class="quiet" onClick={act("DELETE", `/v1/jobs/${job.id}`)}>Cancel</button>
        : <button class="quiet" onClick={act("DELETE", `/v1/jobs/${job.id}`, true)}>Forget</button>}
      {(job.state === "failed" || job.state === "cancelled") && <button class="quiet" onClick={act("POST", `/v1/jobs/${job.id}/retry`)}>Run again</button>}
      {problem && <span class="problem" role="alert">{problem}</span>}
    </>
  );
}
