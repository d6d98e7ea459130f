/** The frame around every page: where one is, who one is, dark or light. */

import { useEffect, useState } from "preact/hooks";
import { useAway } from "./away.ts";
import { JobPage } from "./jobs/job.tsx";
import { JobsPage } from "./jobs/list.tsx";
import { Keys } from "./keys.tsx";
import { LivePage } from "./live/page.tsx";
import { ModelPage } from "./models/model.tsx";
import { ModelsPage } from "./models/list.tsx";
import { client, inWords, type Session, useAsked } from "./service.ts";
import { ServicePage } from "./operations/page.tsx";
import { ReferencePage } from "./reference/page.tsx";
import { StartPage } from "./start/page.tsx";
import { Notice } from "./ui.tsx";

const PAGES = [["live", "Live"], ["start", "Start"], ["jobs", "Jobs"], ["models", "Models"], ["service", "Service"]] as const;

function where(): [string, string] {
  const [page = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return [page || "live", rest.join("/")];
}

export function App() {
  const [[page, rest], setWhere] = useState(where);
  const session = useAsked<Session>("/v1/session", 30_000);
  const away = useAway();
  useEffect(() => {
    const moved = () => {
      setWhere(where());
      document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const title = page === "api" ? "REST API" : PAGES.find(([name]) => name === page)?.[1] ?? "Polychrony";
  useEffect(() => {
    document.title = `${title} · Polychrony`;
  }, [title]);
  const locked = session.value !== null && session.value.token_needed && session.value.name === null;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/live"><Mark />Polychrony</a>
        <nav aria-label="Pages">
          {PAGES.map(([name, label]) => (
            <a key={name} href={`#/${name}`} aria-current={name === page ? "page" : undefined}>{label}</a>
          ))}
        </nav>
        <div class="who">
          {session.value?.name && <SignOut name={session.value.name} done={session.again} />}
          <Keys />
          <Shade />
        </div>
      </header>
      <main id="main" tabIndex={-1} class={away ? "away" : ""}>
        {away && <Notice kind="bad">The service does not answer. It is asked again every two seconds; what is shown is from before.</Notice>}
        {session.problem !== null && <Notice kind="bad">{inWords(session.problem)}</Notice>}
        {locked ? <SignIn done={session.again} /> : <Page page={page} rest={rest} />}
      </main>
    </>
  );
}

function Page({ page, rest }: { page: string; rest: string }) {
  if (page === "live") return <LivePage id={rest} />;
  if (page === "start") return <StartPage />;
  if (page === "jobs") return rest ? <JobPage id={rest} /> : <JobsPage />;
  if (page === "models") return rest ? <ModelPage name={rest} /> : <ModelsPage />;
  if (page === "service") return <ServicePage />;
  if (page === "api") return <ReferencePage />;
  return <Notice kind="bad">There is no page {page}. Go to <a href="#/live">Live</a>.</Notice>;
}

function SignIn({ done }: { done: () => void }) {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    setBusy(true);
    try {
      await client.request("POST", "/v1/session", { token: String(new FormData(form).get("token")) });
      done();
    } catch (caught) {
      setProblem(inWords(caught) === "A token is needed: sign in first." ? "No such token: it may be mistyped, revoked or expired." : inWords(caught));
    }
    setBusy(false);
  };
  return (
    <section class="card narrow">
      <h1>Sign in</h1>
      <p>Sign in with an access token. The first start of the service wrote an admin token to <code>token</code> in its data
        folder; <code>polychrony token create</code> makes more.</p>
      <form onSubmit={send}>
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required
          aria-describedby={problem ? "token-problem" : undefined} aria-invalid={problem !== ""} />
        {problem && <p id="token-problem" class="problem" role="alert">{problem}</p>}
        <button class="main" disabled={busy}>Sign in</button>
      </form>
    </section>
  );
}

function SignOut({ name, done }: { name: string; done: () => void }) {
  return (
    <button class="quiet" title={`Signed in as ${name}`}
      onClick={() => client.request("DELETE", "/v1/session").finally(done)}>Sign out</button>
  );
}

function Shade() {
  const [shade, setShade] = useState(() => localStorage.getItem("shade") ?? "");
  useEffect(() => {
    if (shade) document.documentElement.dataset["shade"] = shade;
    else delete document.documentElement.dataset["shade"];
    localStorage.setItem("shade", shade);
  }, [shade]);
  const dark = shade ? shade === "dark" : !matchMedia("(prefers-color-scheme: light)").matches;
  return (
    <button class="quiet" onClick={() => setShade(dark ? "light" : "dark")}>{dark ? "Light" : "Dark"}</button>
  );
}

/** Spikes of many delays that meet. */
function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
      {[[2, 4, 7], [2, 9, 3], [2, 14, 9], [2, 19, 5]].map(([x, y, d]) => (
        <g key={y} stroke="currentColor" stroke-width="1.6" fill="none">
          <path d={`M${x! + d!} ${y! - 3}v5`} /><path d={`M${x! + d!} ${y!}L19 11`} opacity=".45" />
        </g>
      ))}
      <circle cx="19" cy="11" r="2.4" fill="var(--accent)" />
    </svg>
  );
}
