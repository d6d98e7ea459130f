/** Choose a pipeline, or put one together: forms from the stages' own schemas, errors beside their fields. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Refused } from "../../../typescript/src/index.ts";
import { client, inWords, type Pipeline, type Pipelines, type Schema, type Stage, useAsked } from "../service.ts";
import { Notice } from "../ui.tsx";

const CHECK_AFTER_MS = 300;

export interface Chosen { pipeline: string | Pipeline; good: boolean }

export function ChoosePipeline({ chosen, choose, first }: { chosen: Chosen; choose: (chosen: Chosen) => void; first: string }) {
  const { value, problem } = useAsked<Pipelines>("/v1/pipelines");
  const [edited, setEdited] = useState<Pipeline | null>(null);
  const known = [...(value?.presets ?? []), ...(value?.own ?? [])];
  const name = typeof chosen.pipeline === "string" ? chosen.pipeline : first;
  const current = known.find((one) => one.name === name);
  const pick = (next: string) => {
    setEdited(null);
    choose({ pipeline: next, good: true });
  };
  return (
    <fieldset class="pipeline">
      <legend>Pipeline</legend>
      {problem !== null && <Notice kind="bad">{inWords(problem)}</Notice>}
      <div class="row">
        <label class="grow">Use
          <select value={name} onChange={(event) => pick(event.currentTarget.value)}>
            {value?.presets.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
            {(value?.own.length ?? 0) > 0 && <optgroup label="Your own">{value!.own.map((one) => <option key={one.name} value={one.name} disabled={!!one.error}>{one.name}{one.error ? " (broken)" : ""}</option>)}</optgroup>}
          </select>
        </label>
        <button type="button" aria-expanded={edited !== null} disabled={!current?.pipeline}
          onClick={() => (edited === null ? setEdited(structuredClone(current!.pipeline!)) : pick(name))}>{edited === null ? "Edit" : "Discard changes"}</button>
      </div>
      <p class="dim">{current?.pipeline?.stages.map((stage) => stage.kind.replaceAll("_", " ")).join(" → ")}</p>
      {edited !== null && value !== null && <Editor pipeline={edited} kinds={value.kinds} change={(next, good) => { setEdited(next); choose({ pipeline: next, good }); }} />}
    </fieldset>
  );
}

interface Fault { path: string; problem: string }

function Editor({ pipeline, kinds, change }: { pipeline: Pipeline; kinds: Record<string, Schema>; change: (next: Pipeline, good: boolean) => void }) {
  const [faults, setFaults] = useState<Fault[]>([]);
  const [outputs, setOutputs] = useState("");
  const [kept, setKept] = useState("");
  const turn = useRef(0);
  useEffect(() => {
    const mine = ++turn.current;
    const timer = setTimeout(async () => {
      let found: Fault[] = [];
      try {
        const seen = await client.request("POST", "/v1/pipelines/validate", { pipeline, sensor: { width: 346, height: 260 } });
        if (mine === turn.current) setOutputs(seen.outputs.map((one: { name: string; kind: string }) => `${one.name} (${one.kind})`).join(", "));
      } catch (problem) {
        found = problem instanceof Refused ? (problem.errors.length ? problem.errors : [{ path: "", problem: inWords(problem) }]) : [{ path: "", problem: inWords(problem) }];
      }
      if (mine !== turn.current) return;
      setFaults(found);
      change(pipeline, found.length === 0);
    }, CHECK_AFTER_MS);
    return () => clearTimeout(timer);
  }, [pipeline]);
  const put = (stages: Stage[]) => change({ ...pipeline, stages }, false);
  const of = (path: string) => faults.filter((fault) => plain(fault.path) === path).map((fault) => fault.problem).join("; ");
  const places = pipeline.stages.flatMap((_, i) => Object.keys(kinds[pipeline.stages[i]!.kind]?.properties ?? {}).map((key) => `stages.${i}.${key}`));
  const elsewhere = faults.filter((fault) => !places.includes(plain(fault.path)) && plain(fault.path) !== "outputs");
  const keep = async (event: Event) => {
    event.preventDefault();
    const name = String(new FormData((event.currentTarget as HTMLElement).closest("form") ?? undefined).get("own-name") ?? "");
    try {
      await client.request("PUT", `/v1/pipelines/${encodeURIComponent(name)}`, { pipeline });
      setKept(`Kept as ${name}.`);
    } catch (problem) {
      setKept(inWords(problem));
    }
  };
  return (
    <div class="editor">
      {pipeline.stages.map((stage, i) => (
        <StageForm key={i} stage={stage} schema={kinds[stage.kind]} place={`stages.${i}`} faultOf={of}
          change={(next) => put(pipeline.stages.map((one, k) => (k === i ? next : one)))}
          remove={() => put(pipeline.stages.filter((_, k) => k !== i))}
          up={i > 0 ? () => put(pipeline.stages.map((one, k) => (k === i - 1 ? stage : k === i ? pipeline.stages[i - 1]! : one))) : null} />
      ))}
      <label>Add a stage
        <select value="" onChange={(event) => { const kind = event.currentTarget.value; if (kind) put([...pipeline.stages, { id: fresh(kind, pipeline), kind }]); event.currentTarget.value = ""; }}>
          <option value="">choose …</option>
          {Object.keys(kinds).map((kind) => <option key={kind} value={kind}>{kind.replaceAll("_", " ")}</option>)}
        </select>
      </label>
      <Field name="outputs" schema={{ type: "array", description: "stages, or stage.port, whose rows are answers" }} value={pipeline.outputs} fault={of("outputs")}
        change={(next) => change({ ...pipeline, outputs: next as string[] }, false)} />
      {elsewhere.map((fault) => <Notice key={fault.path} kind="bad">{fault.path ? `${fault.path}: ` : ""}{fault.problem}</Notice>)}
      {faults.length === 0 && outputs && <Notice kind="good">Valid. Outputs: {outputs}.</Notice>}
      <div class="row">
        <label class="grow">Keep it as <input name="own-name" pattern="[a-z0-9][a-z0-9_-]*" placeholder="a-name" /></label>
        <button type="button" disabled={faults.length > 0} onClick={keep}>Keep</button>
      </div>
      {kept && <Notice>{kept}</Notice>}
    </div>
  );
}

/** `pipeline.stages[0].window_us` as the form's fields are named; of outputs[1] as one field. */
function plain(path: string): string {
  const dotted = path.replace(/^pipeline\.?/, "").replaceAll("[", ".").replaceAll("]", "");
  return /^outputs(\.|$)/.test(dotted) ? "outputs" : dotted.split(".").slice(0, 3).join(".");
}

function fresh(kind: string, pipeline: Pipeline): string {
  const base = kind.split("_")[0]!, taken = new Set(pipeline.stages.map((stage) => stage.id));
  for (let i = 1; ; i++) {
    const name = i === 1 ? base : `${base}${i}`;
    if (!taken.has(name)) return name;
  }
}

function StageForm({ stage, schema, place, faultOf, change, remove, up }: {
  stage: Stage; schema: Schema | undefined; place: string; faultOf: (path: string) => string; change: (next: Stage) => void; remove: () => void; up: (() => void) | null;
}) {
  const fields = Object.entries(schema?.properties ?? {}).filter(([name]) => name !== "kind");
  return (
    <fieldset class="stage-form">
      <legend>{stage.kind.replaceAll("_", " ")}</legend>
      <p class="dim">{schema?.description?.split("\n\n")[0]?.replaceAll("``", "")}</p>
      <div class="fields">
        {fields.map(([name, one]) => (
          <Field key={name} name={name} schema={one} value={stage[name]} fault={faultOf(`${place}.${name}`)}
            change={(value) => { const next = { ...stage }; if (value === undefined) delete next[name]; else next[name] = value; change(next as Stage); }} />
        ))}
      </div>
      <p class="row"><button type="button" class="quiet" onClick={() => up?.()} disabled={up === null}>Move up</button>
        <button type="button" class="quiet" onClick={remove}>Remove</button></p>
    </fieldset>
  );
}

/** One setting: a number, a word, a choice or a switch; anything deeper as JSON. */
function Field({ name, schema, value, fault, change }: { name: string; schema: Schema; value: unknown; fault: string; change: (value: unknown) => void }) {
  const id = useRef(`f${Math.random().toString(36).slice(2)}`).current;
  const kinds = [schema, ...(schema.anyOf ?? [])];
  const nullable = kinds.some((one) => one.type === "null");
  const simple = kinds.filter((one) => one.type && one.type !== "null");
  const only = simple.length === 1 && !kinds.some((one) => one.$ref) ? simple[0]! : null;
  const [text, setText] = useState(() => (value === undefined ? "" : JSON.stringify(value)));
  const [broken, setBroken] = useState("");
  useEffect(() => {
    // Another stage may stand here now; what is being typed and is no JSON yet stays.
    const now = value === undefined ? "" : JSON.stringify(value);
    setText((text) => {
      try {
        return text !== "" && JSON.stringify(JSON.parse(text)) === now ? text : now;
      } catch {
        return text;
      }
    });
  }, [value]);
  const described = fault || broken ? `${id}-fault` : `${id}-help`;
  const common = { id, "aria-describedby": described, "aria-invalid": !!(fault || broken) };
  const emptied = () => change(nullable ? null : undefined);
  let input;
  if (schema.enum ?? only?.enum) {
    input = <select {...common} value={String(value ?? schema.default ?? "")} onChange={(event) => change(event.currentTarget.value)}>
      {(schema.enum ?? only!.enum)!.map((one) => <option key={String(one)}>{String(one)}</option>)}
    </select>;
  } else if (only?.type === "boolean") {
    input = <input {...common} type="checkbox" checked={Boolean(value ?? schema.default)} onChange={(event) => change(event.currentTarget.checked)} />;
  } else if (only?.type === "integer" || only?.type === "number") {
    input = <input {...common} type="number" step={only.type === "integer" ? 1 : "any"} value={(value as number | undefined) ?? ""} placeholder={String(schema.default ?? "")}
      onInput={(event) => (event.currentTarget.value === "" ? emptied() : change(Number(event.currentTarget.value)))} />;
  } else if (only?.type === "string") {
    input = <input {...common} value={(value as string | undefined) ?? ""} placeholder={String(schema.default ?? "")}
      onInput={(event) => (event.currentTarget.value === "" ? emptied() : change(event.currentTarget.value))} />;
  } else {
    input = <input {...common} class="json" value={text} placeholder={JSON.stringify(schema.default ?? null)} spellcheck={false} onInput={(event) => {
      const next = event.currentTarget.value;
      setText(next);
      try {
        change(next.trim() === "" ? undefined : JSON.parse(next));
        setBroken("");
      } catch {
        setBroken("is no JSON");
      }
    }} />;
  }
  return (
    <div class="field">
      <label for={id}>{name.replaceAll("_", " ")}</label>
      {input}
      {fault || broken ? <small id={`${id}-fault`} class="problem">{fault || broken}</small> : <small id={`${id}-help`}>{schema.description ?? ""}</small>}
    </div>
  );
}
