/** Record a stream that runs, and fetch what was recorded. */

import { useState } from "preact/hooks";
import { base, bytes, client, inWords, type Stats } from "../service.ts";
import { Notice } from "../ui.tsx";

export function Recording({ id, of, running }: { id: string; of: Stats["recording"]; running: boolean }) {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const turn = async () => {
    setBusy(true);
    setProblem("");
    try {
      await client.request("PUT", `/v1/streams/${id}/recording`, { on: !of?.on });
    } catch (caught) {
      setProblem(inWords(caught));
    }
    setBusy(false);
  };
  return (
    <div class="tools" role="group" aria-label="Recording">
      {running && <button onClick={turn} disabled={busy} aria-pressed={of?.on ?? false}>{of?.on ? "Stop recording" : "Record"}</button>}
      {of && <a href={`${base}/v1/streams/${id}/recording`} download={`${id}.pchy`}>Download the recording ({bytes(of.bytes)})</a>}
      {of !== null && of.left_out_frames > 0 && <Notice kind="bad">The recording is full: {of.left_out_frames} frames were left out.</Notice>}
      {problem && <Notice kind="bad">{problem}</Notice>}
    </div>
  );
}
