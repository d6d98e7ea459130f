export { Client, Closed, Refused, Sender } from "./client.ts";
export type { Options } from "./client.ts";
export { Inbox } from "./results.ts";
export type { Column, Decision, Gap, Lagged, Output, Result, Rows, Watermark } from "./results.ts";
export * as wire from "./wire.ts";
