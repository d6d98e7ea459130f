/** Files to the service by tus: what has arrived stays, and goes on after a break, a reload or a restart. */

import { Upload } from "tus-js-client";
import { base, client } from "../service.ts";

const CHUNK_BYTES = 8 * 2 ** 20;

export interface Sending { promise: Promise<string>; stop: () => void }

/** Send a file; the promise is of the upload's id. */
export function send(file: File, progress: (sent: number, total: number) => void): Sending {
  let upload: Upload;
  const promise = new Promise<string>((resolve, reject) => {
    upload = new Upload(file, {
      endpoint: `${base}/v1/uploads`, chunkSize: CHUNK_BYTES, retryDelays: [0, 500, 1000, 2000, 4000, 8000, 16_000],
      metadata: { filename: file.name }, removeFingerprintOnSuccess: true,
      onProgress: (sent, total) => progress(sent, total ?? file.size),
      onError: (problem) => reject(new Error(explain(problem))),
      onSuccess: () => resolve(upload.url!.split("/").pop()!),
    });
    void upload.findPreviousUploads().then((known) => {
      if (known[0]) upload.resumeFromPreviousUpload(known[0]);
      upload.start();
    });
  });
  return { promise, stop: () => void upload.abort() };
}

function explain(problem: Error): string {
  const answer = (problem as { originalResponse?: { getBody(): string } | null }).originalResponse?.getBody();
  try {
    return JSON.parse(answer ?? "").detail;
  } catch {
    return "The upload broke off. Choose the file again: it goes on where it stopped.";
  }
}

/** Analyze a file that was sent; the job's id. */
export async function analyze(upload: string, options: Record<string, unknown>): Promise<string> {
  return (await client.request("POST", "/v1/jobs", { upload, ...options })).id as string;
}
