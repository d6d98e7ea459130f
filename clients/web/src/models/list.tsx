/** Models: those that come along, and those that were imported. */

import { useState } from "preact/hooks";
import { base, client, count, inWords, type Model, useAsked } from "../service.ts";
import { Notice } from "../ui.tsx";
import { quality } from "./quality.ts";

export function ModelsPage() {
  const { value, problem, again } = useAsked<{ models: Model[]; zoo: string[] }>("/v1/models");
  const [said, setSaid] = useState<[kind: "bad" | "good", text: string] | null>(null);
  const add = async (file: File | undefined) => {
    if (!file) return;
    const form = new FormData();
    form.append("file", file);
    const answer = await fetch(`${base}/v1/models`, { method: "POST", body: form });
    const document = await answer.json().catch(() => null);
    setSaid(answer.ok ? ["good", `${document.name} is here.`] : ["bad", document?.detail ?? answer.statusText]);
    again();
  };
  return (
    <div>
      <h1>Models</h1>
      {problem !== null && <Notice kind="bad">{inWords(problem)}</Notice>}
      <ul class="models">
        {value?.models.map((model) => (
          <li key={model.name} class="card">
            <h2><a href={`#/models/${model.name}`}>{model.name}</a> <small>{model.version}</small></h2>
            {model.error
              ? <p class="problem">{model.error}</p>
              : <>
                <p>{(model.kind ?? "").replaceAll("_", " ")}, {model.labels?.length ?? 0} classes{model.zoo ? "" : ", imported"}</p>
                <p class="dim">{[quality(model), model.weights ? `${count(model.weights)} weights` : ""].filter(Boolean).join(" · ")}</p>
              </>}
          </li>
        ))}
      </ul>
      <section class="card narrow">
        <h2>Import one</h2>
        <p class="dim">A bundle (.zip), a NIR graph (.nir) or a network (.onnx). Nothing that could run code is opened.</p>
        <label class="button">Choose a file<input class="hidden" type="file" accept=".zip,.nir,.onnx" onChange={(event) => void add(event.currentTarget.files?.[0])} /></label>
        {said && <Notice kind={said[0]}>{said[1]}</Notice>}
      </section>
    </div>
  );
}

export const forget = (name: string) => client.request("DELETE", `/v1/models/${encodeURIComponent(name)}`);
