/** What people call a stream. */

import type { StreamCard } from "../service.ts";

export function nameOf(stream: StreamCard): string {
  if (stream.name) return stream.name;
  const address = stream.source?.address;
  if (address === "sample:") return "The sample";
  if (address === "pictures:") return "A browser's camera";
  return address?.split("/").pop() || address || stream.id.slice(0, 8);
}
