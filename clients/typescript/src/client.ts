/** Streams of a service: opened over REST, fed and read over WebSockets that are made anew when they break. */

import { Inbox, type Output, type Result } from "./results.ts";
import { ENCODING, type Events, TYPE, build, packEvents } from "./wire.ts";

const PROTOCOL = "polychrony.v1";
const RETRIED = new Set([1001, 1005, 1006, 1011, 1012]);
const PAUSES_MS = [50, 100, 200, 400, 800, 1600, 2000];

/** The service refused a request (RFC 9457). */
export class Refused extends Error {
  readonly status: number;
  readonly errors: { path: string; problem: string }[];
  constructor(status: number, detail: string, errors: { path: string; problem: string }[] = []) {
    super(`${status}: ${detail}`);
    this.status = status;
    this.errors = errors;
  }
}

/** The service closed a connection for a fault, or went away and did not come back. */
export class Closed extends Error {
  readonly close: number;
  readonly code: string;
  constructor(close: number, code: string, detail: string) {
    super(`${code || close}: ${detail || "connection closed"}`);
    this.close = close;
    this.code = code;
  }
}

export interface Options {
  /** Where a page has not signed in, which sends a cookie instead. */
  token?: string;
  /** How long a service that went away is waited for. */
  patienceMs?: number;
}

/** A client of one service; `url` such as http://127.0.0.1:8700, or a page's own origin. */
export class Client {
  readonly url: string;
  readonly patienceMs: number;
  readonly #token: string | undefined;

  constructor(url: string, options: Options = {}) {
    this.url = url.replace(/\/$/, "");
    this.#token = options.token;
    this.patienceMs = options.patienceMs ?? 30_000;
  }

  /** A request; its answer as JSON, or null where it has none. */
  async request(method: string, path: string, body?: unknown): Promise<any> {
    const headers: Record<string, string> = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (this.#token) headers["Authorization"] = `Bearer ${this.#token}`;
    const init: RequestInit = { method, headers };
    if (body !== undefined) init.body = JSON.stringify(body);
    const answer = await fetch(this.url + path, init);
    const text = await answer.text();
    const document = text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : null;
    if (!answer.ok) throw new Refused(answer.status, document?.detail ?? answer.statusText, document?.errors);
    return document;
  }

  /** Open a stream. */
  async stream(request: Record<string, unknown>): Promise<Sender> {
    const made = await this.request("POST", "/v1/streams", request);
    const sender = new Sender(this, made.id);
    await sender.connect();
    return sender;
  }

  /**
   * Results of a stream as they come to be, until it ends; every row once, over as many connections as it takes.
   *
   * `hello` is told of the outputs at each connection, `lost` of each that broke and is made anew.
   */
  async *results(
    id: string, outputs: string[] = [], start: boolean | Map<string, number> = false, hello: (outputs: Output[]) => void = () => {},
    lost: (code: number) => void = () => {},
  ): AsyncGenerator<Result> {
    const inbox = new Inbox(outputs, start);
    for (;;) {
      const socket = await patiently(this, () => this.socket(`/v1/streams/${id}/results?${inbox.query()}`));
      let told = false;
      for await (const message of socket.messages()) {
        const result = inbox.take(message);
        if (!told && inbox.outputs.size > 0) {
          told = true;
          hello([...inbox.outputs.values()]);
        }
        if (result !== null) yield result;
        if (inbox.over) {
          socket.close();
          return;
        }
      }
      // 1008 without a word: it was cut as it read too slowly, and may go on.
      if (inbox.fault !== null || !(RETRIED.has(socket.code) || socket.code === 1008)) {
        throw new Closed(socket.code, inbox.fault?.code ?? "", inbox.fault?.detail ?? "");
      }
      lost(socket.code);
    }
  }

  /** A WebSocket that is open. */
  async socket(path: string): Promise<Socket> {
    const protocols = [PROTOCOL];
    if (this.#token) {
      const bytes = new TextEncoder().encode(this.#token);
      const encoded = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
      protocols.push(`polychrony.token.${encoded}`);
    }
    const socket = new Socket(new WebSocket(this.url.replace(/^http/, "ws") + path, protocols));
    await socket.opened;
    return socket;
  }
}

/** The sending side of a stream: frames are kept until the service has them for good, and sent again after a break. */
export class Sender {
  readonly id: string;
  reconnects = 0;
  readonly #client: Client;
  #socket: Socket | null = null;
  #number = 0;
  #bytes = 0;
  #limit = 0;
  #newestUs = 0;
  #kept: { number: number; end: number; data: Uint8Array }[] = [];
  #fault: { code: string; detail: string } | null = null;
  #final: any = null;
  #waiting: (() => void)[] = [];
  #broken: Error | null = null;
  #turn: Promise<void> = Promise.resolve();

  constructor(client: Client, id: string) {
    this.#client = client;
    this.id = id;
  }

  async connect(): Promise<void> {
    const socket = await this.#client.socket(`/v1/streams/${this.id}/ingest`);
    const ready = await socket.next();
    if (typeof ready !== "string") throw new Closed(socket.code, "", "the service said nothing");
    this.#fault = null;
    this.#hear(JSON.parse(ready), socket);
    this.#socket = socket;
    void this.#listen(socket);
  }

  /** Send events in arrival order; waits where the service asks to. */
  async send(events: Events): Promise<void> {
    for (const { tUs, count, payload } of packEvents(events)) {
      await this.#put(TYPE.events, ENCODING.aer64, tUs, count, payload);
      this.#newestUs = Math.max(this.#newestUs, tUs + new DataView(payload.buffer).getUint32(8 * (count - 1), true));
    }
  }

  /** Say that no later event is earlier than `tUs`, so that open bins can close. */
  async heartbeat(tUs: number): Promise<void> {
    this.#newestUs = Math.max(this.#newestUs, tUs);
    await this.#put(TYPE.heartbeat, 0, tUs, 0);
  }

  /** Say that events before `tUs` were lost. */
  async gap(tUs: number): Promise<void> {
    await this.#put(TYPE.gap, 0, tUs, 0);
  }

  /** End the stream and wait until all results exist. */
  async end(): Promise<{ rows: Record<string, number>; digests: Record<string, string> }> {
    if (this.#final === null) await this.#put(TYPE.end, 0, this.#newestUs, 0);
    await this.#until(() => this.#final !== null);
    return this.#final;
  }

  close(): void {
    this.#socket?.close();
    this.#socket = null;
  }

  /** One frame after the other, also where a caller does not wait for the one before. */
  async #put(type: number, code: number, tUs: number, count: number, payload?: Uint8Array): Promise<void> {
    const before = this.#turn;
    let done = () => {};
    this.#turn = new Promise((resolve) => (done = resolve));
    await before;
    try {
      await this.#putNext(type, code, tUs, count, payload);
    } finally {
      done();
    }
  }

  async #putNext(type: number, code: number, tUs: number, count: number, payload?: Uint8Array): Promise<void> {
    const data = build(type, code, this.#number + 1, tUs, count, payload);
    await this.#until(() => this.#bytes + data.length <= this.#limit);
    this.#number += 1;
    this.#bytes += data.length;
    this.#kept.push({ number: this.#number, end: this.#bytes, data });
    this.#socket?.send(data); // where there is none, it goes out with those that are sent again
  }

  async #listen(socket: Socket): Promise<void> {
    for await (const message of socket.messages()) {
      if (typeof message === "string") this.#hear(JSON.parse(message), socket);
    }
    if (this.#final !== null || this.#socket !== socket) return;
    this.#socket = null;
    if (this.#fault !== null || !RETRIED.has(socket.code)) {
      this.#break(new Closed(socket.code, this.#fault?.code ?? "", this.#fault?.detail ?? ""));
      return;
    }
    try {
      await patiently(this.#client, () => this.connect());
      this.reconnects += 1;
    } catch (problem) {
      this.#break(problem as Error);
    }
  }

  #hear(said: any, socket: Socket): void {
    if (said.type === "ready") {
      this.#limit = said.limit;
      for (const { number, end, data } of this.#kept) {
        if (number >= said.resume_from && end <= this.#limit) socket.send(data);
      }
    } else if (said.type === "ack") {
      const before = this.#limit;
      this.#limit = Math.max(before, said.limit);
      for (const { number, end, data } of this.#kept) {
        // What was kept from an earlier connection and did not fit then.
        if (number > said.received && end > before && end <= this.#limit && end <= this.#bytes) socket.send(data);
      }
      this.#kept = this.#kept.filter(({ number }) => number > said.durable);
    } else if (said.type === "end") {
      this.#final = said;
    } else if (said.type === "error") {
      this.#fault = said;
    }
    this.#wake();
  }

  #break(problem: Error): void {
    this.#broken = problem;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#broken !== null) throw this.#broken;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#broken !== null) throw this.#broken;
  }
}

/** A WebSocket whose messages are waited for one by one. */
class Socket {
  /** What it closed with. */
  code = 1006;
  readonly opened: Promise<void>;
  readonly #socket: WebSocket;
  readonly #waiting: (Uint8Array | string)[] = [];
  #wake: (() => void) | null = null;
  #over = false;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      this.#waiting.push(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
      this.#wake?.();
    });
    this.opened = new Promise((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("close", ({ code }) => {
        this.code = code;
        this.#over = true;
        this.#wake?.();
        reject(new Closed(code, "", "the service does not answer, or refuses"));
      });
    });
    this.opened.catch(() => {});
  }

  send(data: Uint8Array): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data as Uint8Array<ArrayBuffer>);
  }

  close(): void {
    this.#socket.close();
  }

  /** The next message, or undefined where the connection ended. */
  async next(): Promise<Uint8Array | string | undefined> {
    while (this.#waiting.length === 0 && !this.#over) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#waiting.shift();
  }

  async *messages(): AsyncGenerator<Uint8Array | string> {
    for (let message = await this.next(); message !== undefined; message = await this.next()) yield message;
  }
}

async function patiently<T>(client: Client, act: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + client.patienceMs;
  for (let i = 0; ; i++) {
    try {
      return await act();
    } catch (problem) {
      if (Date.now() > deadline) throw problem;
      await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[Math.min(i, PAUSES_MS.length - 1)]));
    }
  }
}
