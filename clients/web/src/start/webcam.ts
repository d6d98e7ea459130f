/** The browser's own camera: pictures go to the service, which sees them as an event camera would. */

import { base, client } from "../service.ts";

const WIDTH = 320, QUALITY = 0.8, MOST_WAITING = 4 * 2 ** 20;

export interface Camera { id: string; stop: () => Promise<void> }

export async function openWebcam(pipeline: unknown, broken: (why: string) => void): Promise<Camera> {
  if (!navigator.mediaDevices) throw new Error("This browser gives pages no camera here: it takes https, or this very machine.");
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, frameRate: { ideal: 60 } }, audio: false });
  } catch (problem) {
    throw new Error((problem as Error).name === "NotAllowedError" ? "The browser was told not to let this page see." : "There is no camera that could be opened.");
  }
  const off = () => stream.getTracks().forEach((track) => track.stop());
  try {
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    const height = Math.round((WIDTH * video.videoHeight) / video.videoWidth);
    const made = await client.request("POST", "/v1/streams", {
      pipeline, policy: "realtime", max_latency_ms: 500, sensor: { width: WIDTH, height }, source: { address: "pictures:" }, idle_timeout_s: 60, // a hidden page sends nothing
    });
    const socket = new WebSocket(`${base.replace(/^http/, "ws")}/v1/streams/${made.id}/pictures`, "polychrony.v1");
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onclose = () => reject(new Error("The service did not take the camera's pictures."));
    });
    let over = false;
    socket.onclose = () => {
      if (!over) broken("The connection for the camera's pictures was lost.");
      over = true;
      off();
    };
    push(video, socket, WIDTH, height, () => over);
    return { id: made.id, stop: async () => { over = true; off(); if (socket.readyState === WebSocket.OPEN) socket.send("end"); } };
  } catch (problem) {
    off();
    throw problem;
  }
}

/** Send each new picture with the time at which the browser got it; leave out those for which there is no room. */
function push(video: HTMLVideoElement, socket: WebSocket, width: number, height: number, over: () => boolean): void {
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true })!;
  const started = performance.now();
  let last = -1;
  const next = async (at: number) => {
    if (over()) return;
    const us = Math.max(last + 1, Math.round((at - started) * 1000));
    if (us >= 0 && socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING) {
      last = us;
      context.drawImage(video, 0, 0, width, height);
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY }).catch(() => null);
      const picture = blob === null ? new ArrayBuffer(0) : await blob.arrayBuffer();
      const message = new Uint8Array(8 + picture.byteLength);
      new DataView(message.buffer).setBigUint64(0, BigInt(us), true);
      message.set(new Uint8Array(picture), 8);
      if (!over() && picture.byteLength > 0) socket.send(message);
    }
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
}
