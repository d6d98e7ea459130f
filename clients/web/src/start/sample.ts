/** The bundled clip as a live stream that begins again at its end, slowed down so that eyes can follow. */

import { client } from "../service.ts";

const SLOWED = 0.2;

export async function playSample(pipeline: unknown = "view"): Promise<string> {
  const made = await client.request("POST", "/v1/streams", {
    pipeline, policy: "realtime", max_latency_ms: 1000, source: { address: "sample:", speed: SLOWED, repeat: true },
  });
  return made.id as string;
}
