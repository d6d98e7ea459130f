/** One model: what it looks for, how good it is, what it costs, how it was made. */

import { useState } from "preact/hooks";
import { base, inWords, type Model, useAsked } from "../service.ts";
import { Notice } from "../ui.tsx";
import { forget } from "./list.tsx";
import { quality } from "./quality.ts";

export function ModelPage({ name }: { name: string }) {
  const { value: model, problem } = useAsked<Model>(`/v1/models/${encodeURIComponent(name)}`);
  const [said, setSaid] = useState("");
  if (model === null) return problem === null ? <p class="dim">Asking for the model …</p> : <Notice kind="bad">{inWords(problem)}</Notice>;
  const remove = () => forget(name).then(() => (location.hash = "#/models"), (caught) => setSaid(inWords(caught)));
  return (
    <div>
      <p><a href="#/models">← Models</a></p>
      <h1>{model.name} <small>{model.version}</small></h1>
      <p>{(model.kind ?? "").replaceAll("_", " ")} of {model.labels?.length ?? 0} classes: {model.labels?.map((label) => label.name).join(", ")}.</p>
      <p class="row"><a class="button" href={`${base}/v1/models/${name}/export`} download>Download</a>
        {!model.zoo && <button class="quiet" onClick={remove}>Forget it</button>}</p>
      {said && <Notice kind="bad">{said}</Notice>}
      {quality(model) && <p><b>{quality(model)}</b></p>}
      <Drawing key={`kernels ${name}`} src={`${base}/v1/models/${name}/drawing?v=${model.digest?.slice(0, 12)}`}
        alt={`What ${model.name} looks for, and how good it is`} />
      {model.kind?.endsWith("bank") && <Drawing key={`curves ${name}`} src={`${base}/v1/models/${name}/drawing?of=curves&v=${model.digest?.slice(0, 12)}`}
        alt={`How good ${model.name} is with fewer weights or delays`} />}
      <div class="columns even">
        <Table title="How good it is" of={model.accuracy} />
        <Table title="What it costs" of={model.costs ?? { weights: model.weights, "not zero": model.weights_not_zero, bytes: model.bytes, shape: model.shape?.join(" × "), "bin, us": model.bin_us }} />
        <Table title="How it was made" of={{ ...model.provenance, licence: model.licence, digest: model.digest }} />
      </div>
    </div>
  );
}

/** A picture that the service draws when it is first asked for, which may take some seconds. */
function Drawing({ src, alt }: { src: string; alt: string }) {
  const [state, setState] = useState<"waiting" | "there" | "none">("waiting");
  return (
    <>
      {state === "waiting" && <p class="dim" role="status"><span class="spinner" aria-hidden="true" /> Drawing …</p>}
      <img class="drawing" src={src} alt={alt} hidden={state !== "there"} onLoad={() => setState("there")} onError={() => setState("none")} />
    </>
  );
}

const OPENED = new Set(["ideal_and_clean", "noisy"]);

/** Entries of an object whose values can be shown, with those of some objects in it. */
function flat(of: Record<string, unknown>): [string, unknown][] {
  return Object.entries(of).flatMap(([name, value]): [string, unknown][] => {
    if (value === null || value === undefined || Array.isArray(value)) return [];
    if (typeof value !== "object") return [[name, value]];
    return OPENED.has(name) ? Object.entries(value).map(([key, one]) => [`${name}: ${key}`, one]) : [];
  });
}

function Table({ title, of }: { title: string; of: Record<string, unknown> | undefined }) {
  const rows = flat(of ?? {});
  if (rows.length === 0) return null;
  return (
    <section class="card">
      <h2>{title}</h2>
      <table><tbody>{rows.map(([name, value]) => (
        <tr key={name}><th scope="row">{name.replaceAll("_", " ")}</th><td>{typeof value === "number" ? (Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(4))) : String(value)}</td></tr>
      ))}</tbody></table>
    </section>
  );
}
