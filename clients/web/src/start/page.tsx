/** Start: the sample, a file, the browser's camera, or a source that the service fetches itself. */

import { useEffect, useRef, useState } from "preact/hooks";
import { bytes, client, duration, inWords } from "../service.ts";
import { Notice, Progress } from "../ui.tsx";
import { type Chosen, ChoosePipeline } from "./pipeline.tsx";
import { playSample } from "./sample.ts";
import { analyze, send } from "./upload.ts";
import { type Camera, openWebcam } from "./webcam.ts";

/** Outlives the page's parts: one may look at the stream while the camera goes on. */
let camera: Camera | null = null;

export function StartPage() {
  const [live, setLive] = useState<Chosen>({ pipeline: "view", good: true });
  return (
    <div class="start">
      <h1>New analysis or stream</h1>
      <div class="cards">
        <FileCard />
        <section class="card" aria-labelledby="live-title">
          <h2 id="live-title">Live</h2>
          <form onSubmit={(event) => event.preventDefault()}>
            <ChoosePipeline chosen={live} choose={setLive} first="view" />
            <Ways chosen={live} />
          </form>
        </section>
      </div>
    </div>
  );
}

function Ways({ chosen }: { chosen: Chosen }) {
  const [problem, setProblem] = useState<[string, string]>(["", ""]);
  const [busy, setBusy] = useState("");
  const [running, setRunning] = useState(camera !== null);
  const open = async (way: string, act: () => Promise<string>) => {
    setBusy(way);
    setProblem(["", ""]);
    try {
      location.hash = `#/live/${await act()}`;
    } catch (caught) {
      setProblem([way, inWords(caught)]);
    }
    setBusy("");
  };
  const webcam = async () => {
    camera = await openWebcam(chosen.pipeline, (why) => { camera = null; setRunning(false); setProblem(["webcam", why]); });
    setRunning(true);
    return camera.id;
  };
  const fetched = async (event: Event) => {
    const data = new FormData((event.currentTarget as HTMLElement).closest("form")!);
    const size = /^(\d+)\s*[x×]\s*(\d+)$/.exec(String(data.get("sensor")).trim());
    if (String(data.get("sensor")).trim() && !size) throw new Error("Sensor: write it as 640x480, or leave it empty.");
    return (await client.request("POST", "/v1/streams", {
      pipeline: chosen.pipeline, policy: "realtime", source: { address: String(data.get("address")).trim() },
      ...(size ? { sensor: { width: Number(size[1]), height: Number(size[2]) } } : {}),
    })).id as string;
  };
  const off = !chosen.good || busy !== "";
  return (
    <div class="ways">
      <div class="way">
        <h3>The bundled sample</h3>
        <p class="dim">Textures that slide behind windows, over and over, five times slowed down.</p>
        <button type="button" class="main" disabled={off} onClick={() => open("sample", () => playSample(chosen.pipeline))}>{busy === "sample" ? "Opening …" : "Play the sample"}</button>
        {problem[0] === "sample" && <Notice kind="bad">{problem[1]}</Notice>}
      </div>
      <div class="way">
        <h3>This browser's camera</h3>
        <p class="dim">Its pictures go to the service, which turns them into events. They are not kept.</p>
        {running
          ? <button type="button" onClick={async () => { await camera?.stop(); camera = null; setRunning(false); }}>Stop the camera</button>
          : <button type="button" disabled={off} onClick={() => open("webcam", webcam)}>{busy === "webcam" ? "Opening …" : "Use the camera"}</button>}
        {problem[0] === "webcam" && <Notice kind="bad">{problem[1]}</Notice>}
      </div>
      <div class="way">
        <h3>A camera or file that the service fetches</h3>
        <div class="row">
          <label class="grow">Address <input name="address" placeholder="rtsp://camera.local/live, udp://0.0.0.0:3333" aria-describedby="address-help" aria-invalid={problem[0] === "source"} /></label>
          <label>Sensor <input name="sensor" placeholder="if it cannot say" size={12} /></label>
        </div>
        <small id="address-help" class="dim">Only what the setting <code>allowed_sources</code> lists is fetched.</small>
        {problem[0] === "source" && <Notice kind="bad">{problem[1]}</Notice>}
        <button type="button" disabled={off} onClick={(event) => open("source", () => fetched(event))}>{busy === "source" ? "Connecting …" : "Connect"}</button>
      </div>
    </div>
  );
}

interface Sent { name: string; size: number; sent: number; since: number; problem: string }

function FileCard() {
  const [chosen, setChosen] = useState<Chosen>({ pipeline: "motion", good: true });
  const [sending, setSending] = useState<Sent | null>(null);
  const [over, setOver] = useState(false);
  const stop = useRef<(() => void) | null>(null);
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  const take = async (file: File | undefined) => {
    if (!file || !chosen.good) return;
    const one: Sent = { name: file.name, size: file.size, sent: 0, since: performance.now(), problem: "" };
    setSending(one);
    try {
      const going = send(file, (sent) => setSending({ ...one, sent }));
      stop.current = going.stop;
      const job = await analyze(await going.promise, { pipeline: chosen.pipeline, video: true });
      if (alive.current) location.hash = `#/jobs/${job}`;
    } catch (caught) {
      setSending({ ...one, problem: inWords(caught) });
    }
  };
  const left = sending && sending.sent > 0 ? ((performance.now() - sending.since) / 1000) * (sending.size / sending.sent - 1) : null;
  return (
    <section class="card" aria-labelledby="file-title">
      <h2 id="file-title">Analyze a file</h2>
      <form onSubmit={(event) => event.preventDefault()}>
        <ChoosePipeline chosen={chosen} choose={setChosen} first="motion" />
        <div class={`drop ${over ? "over" : ""}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
          onDrop={(event) => { event.preventDefault(); setOver(false); void take(event.dataTransfer?.files[0]); }}>
          <p><b>Drop a video or a recording here</b></p>
          <p class="dim">mp4, avi, raw (EVT2, EVT3), dat, aedat, aedat4, es, HDF5, npz, csv, bag, pchy …</p>
          <label class="button main">Choose a file<input type="file" class="hidden" onChange={(event) => void take(event.currentTarget.files?.[0])} /></label>
        </div>
        {sending && (
          <div>
            <p><b>{sending.name}</b> <span class="dim">{bytes(sending.sent)} of {bytes(sending.size)}{left !== null && sending.sent < sending.size ? `, ${duration(left)} left` : ""}</span></p>
            <Progress label={`Upload of ${sending.name}`} done={sending.sent} of={sending.size} />
            {sending.problem ? <Notice kind="bad">{sending.problem}</Notice> : <button type="button" class="quiet" onClick={() => { stop.current?.(); setSending(null); }}>Stop</button>}
          </div>
        )}
      </form>
    </section>
  );
}
