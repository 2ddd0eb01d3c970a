import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { type ChatBody, decideReply, type Reply } from "./answer.ts";
import { type AttemptEnd, type AttemptRecord, type Counts, createAttemptBook } from "./attempts.ts";
import { type ReplyHead, replyJson } from "./body.ts";
import { createEndpoints, type EndpointCall } from "./endpoints.ts";
import { errorJson } from "./errors.ts";
import { type Play, playInstead, playJson, playStream, type Progress } from "./play.ts";
import { createScriptQueue, type QueuedScript } from "./queue.ts";
import { createRealtime, type RealtimeCall } from "./realtime.ts";
import { createStorm, readScript, type Script, ScriptError, scriptFromHeaders } from "./script.ts";

export type { AttemptEnd, AttemptRecord, Counts } from "./attempts.ts";
export type { QueuedScript } from "./queue.ts";
export type { Script } from "./script.ts";

export interface SimulatorOptions {
  /** File that gets one line of JSON for each served request, synced to disk in groups. Default: none. */
  readonly countFile?: string;
  /** Whether requests are counted at all. Off for benchmarks and for the demo. Default true. */
  readonly counting?: boolean;
  /** Served requests remembered; the oldest are forgotten (the file keeps them). Default 100,000. */
  readonly recordsMax?: number;
  /** Request bodies remembered for `received()`; the oldest are forgotten. Default 0. */
  readonly receivedMax?: number;
  /** Whether requests may say what is to happen to them, and `/sim/` is answered. Default true. */
  readonly scripting?: boolean;
  /** What happens to every request that says nothing else. */
  readonly script?: Script;
  /** Seed of a storm: a share of requests meets a fault by chance, in an order that the seed determines. */
  readonly seed?: number;
  /** Share of requests that the storm hits, in percent. Default 10 with a seed, else 0. */
  readonly faultPercent?: number;
  /** Models to list. Any other name is answered as well. Default `weir-demo`. */
  readonly models?: readonly string[];
  /** Serve TLS with this certificate, PEM. Default: plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Largest request body, in bytes. Default 256 MiB. */
  readonly bodyBytesMax?: number;
  /** Told of moments of an attempt, while it waits: for tests that break something just then. */
  readonly onMoment?: (moment: Moment, model: string) => void;
}

/** The request is here; the first piece of the answer is about to be written; the attempt has been counted. */
export type Moment = "received" | "answering" | "ended";

/** A request as it came. */
export interface ReceivedRequest {
  readonly id: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface Simulator {
  /** Starts to serve. Resolves with the base URL, without `/v1`. */
  listen(address?: { host?: string; port?: number }): Promise<{ url: string; port: number }>;
  /** Ends every connection, and waits until the count file is on disk. */
  close(): Promise<void>;
  counts(): Counts;
  /** Served requests in the order in which they ended. */
  attempts(): readonly AttemptRecord[];
  /** All servings of one attempt. */
  attempt(id: string): readonly AttemptRecord[];
  /** The last requests, oldest first. */
  received(): readonly ReceivedRequest[];
  /** Requests to other endpoints than chat, the oldest first. */
  endpointCalls(): readonly EndpointCall[];
  /** Loses the files, batches and all else that was made there. */
  forgetEndpointObjects(): void;
  /** Sessions of Realtime, the oldest first. */
  realtimeCalls(): readonly RealtimeCall[];
  /** Lays a script over the next requests that match. */
  script(script: Script, match?: { readonly model?: string; readonly times?: number }): void;
  /** Forgets all scripts that still wait. */
  clearScripts(): void;
  /** Resets every connection now. */
  cutConnections(): void;
}

const emptyScript: Script = {};

/**
 * A provider of language models over real HTTP, without a model: it speaks OpenAI's chat completions and model list,
 * answers deterministically, breaks as scripted, and keeps its own count of what it served and billed.
 */
export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const counting = options.counting ?? true;
  const scripting = options.scripting ?? true;
  const receivedMax = options.receivedMax ?? 0;
  const bodyBytesMax = options.bodyBytesMax ?? 256 * 1024 * 1024;
  const models = options.models ?? ["weir-demo"];
  const baseScript = options.script ?? emptyScript;
  const storm = options.seed === undefined ? undefined : createStorm(options.seed, options.faultPercent ?? 10);
  const book = createAttemptBook(counting ? options.countFile : undefined, options.recordsMax ?? 100_000);
  const queue = createScriptQueue();
  const endpoints = createEndpoints();
  const realtime = createRealtime();
  const sockets = new Set<Socket>();
  const received: ReceivedRequest[] = [];
  let open = 0;
  let serial = 0;

  const server: Server = options.tls === undefined ? createServer(onRequest) : createTlsServer(options.tls, onRequest);
  // Idle connections stay: a client that reuses one must not meet a close of ours.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  server.on("connection", track);
  server.on("upgrade", realtime.upgrade);
  server.on("secureConnection", track);
  server.on("clientError", (_error, socket) => socket.destroy());
  // TLS handshakes that fail are the client's affair, and a test's.
  server.on("tlsClientError", () => {});

  function track(socket: Socket): void {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    response.sendDate = false;
    const url = request.url ?? "/";
    const path = url.includes("?") ? url.slice(0, url.indexOf("?")) : url;
    if (request.method === "POST" && path.endsWith("/chat/completions")) {
      readBody(request, response, (body) => onChat(request, response, body));
    } else if (request.method === "GET" && path.endsWith("/models")) {
      sendJson(response, 200, { object: "list", data: models.map(modelObject) });
    } else if (request.method === "GET" && path.includes("/models/")) {
      const id = decodeURIComponent(path.slice(path.indexOf("/models/") + 8));
      if (models.includes(id)) sendJson(response, 200, modelObject(id));
      else sendText(response, 404, errorJson(404, {}));
    } else if (scripting && path.startsWith("/sim/")) {
      readBody(request, response, (body) => onControl(request.method ?? "GET", path, body, response));
    } else {
      readBody(request, response, (body) => onEndpoint(request, url, body, response));
    }
  }

  function onEndpoint(request: IncomingMessage, url: string, body: Buffer, response: ServerResponse): void {
    const [full = "", query = ""] = url.split("?", 2);
    const path = full.replace(/^\/v1(?=\/)/, "");
    const { method = "", headers } = request;
    if (endpoints.answer({ method, path, query, headers, body }, response)) return;
    sendText(response, 404, errorJson(404, { errorMessage: `No ${method} ${path} here.` }));
  }

  function readBody(request: IncomingMessage, response: ServerResponse, use: (body: Buffer) => void): void {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bodyBytesMax) chunks.push(chunk);
    });
    request.on("end", () => {
      if (bytes > bodyBytesMax) sendText(response, 413, errorJson(413, {}));
      else use(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
  }

  function onChat(request: IncomingMessage, response: ServerResponse, raw: Buffer): void {
    const id = counting || receivedMax > 0 ? header(request, "x-client-request-id") : "";
    if (receivedMax > 0) {
      if (received.length >= receivedMax) received.shift();
      received.push({ id, headers: request.headers, body: raw });
    }
    const startMs = counting ? Date.now() : 0;
    let body: ChatBody;
    let script = baseScript;
    try {
      body = JSON.parse(raw.toString()) as ChatBody;
      if (typeof body !== "object" || body === null || !Array.isArray(body.messages)) {
        throw new ScriptError("the body is a JSON object with messages");
      }
      if (scripting) script = scriptOf(request, body);
    } catch (error) {
      const errorMessage = error instanceof Error ? error.message : "not JSON";
      sendText(response, 400, errorJson(400, { errorMessage }));
      const reply = decideReply({}, emptyScript);
      const progress = { status: 400, tokens: 0, bytes: 0, chunks: 0 };
      if (counting) record({ id, script: emptyScript, reply, stream: false, startMs, progress }, "refused", false);
      return;
    }
    const reply = decideReply(body, script);
    const stream = body.stream === true;
    serial++;
    const odd = script.sse?.includes("id-null") === true;
    const head = { id: odd ? null : `chatcmpl-sim${serial}`, created: Math.floor(Date.now() / 1000) };
    const includeUsage = body.stream_options?.include_usage === true;
    if (script === emptyScript && !stream) {
      // The usual case of benchmarks, without a promise.
      const answer = replyJson(reply, head, script);
      sendText(response, 200, answer);
      const progress = { status: 200, tokens: reply.outputTokens, bytes: Buffer.byteLength(answer), chunks: 1 };
      if (counting) record({ id, script, reply, stream, startMs, progress }, "completed", false);
      return;
    }
    void serve({ id, response, script, reply, stream, head, includeUsage, startMs });
  }

  function scriptOf(request: IncomingMessage, body: ChatBody): Script {
    const model = typeof body.model === "string" ? body.model : "";
    const layers = [storm?.(), queue.take(model), scriptFromHeaders(request.rawHeaders)];
    if (body.x_sim !== undefined) layers.push(readScript(body.x_sim));
    let script = baseScript;
    for (const layer of layers) if (layer !== undefined) script = { ...script, ...layer, ...layer.models?.[model] };
    return script;
  }

  async function serve(exchange: Exchange): Promise<void> {
    const { response, script, reply, stream } = exchange;
    const progress: Progress = { status: 0, tokens: 0, bytes: 0, chunks: 0 };
    const goesOn = script.stopOnAbort === false;
    options.onMoment?.("received", reply.model);
    let left = false;
    let paused: { readonly forever: boolean; wake(): void } | undefined;
    open++;
    response.once("close", () => {
      left = !response.writableFinished;
      if (!goesOn || paused?.forever === true) paused?.wake();
    });
    response.on("error", () => {});
    const play: Play = {
      response,
      script,
      reply,
      head: exchange.head,
      includeUsage: exchange.includeUsage,
      progress,
      pause(ms) {
        const forever = ms === Number.POSITIVE_INFINITY;
        if (play.stopped() || (forever && left)) return Promise.resolve();
        return new Promise((resolve) => {
          const timer = forever || ms === 0 ? undefined : setTimeout(resolve, ms);
          if (ms === 0) setImmediate(resolve);
          paused = {
            forever,
            wake() {
              clearTimeout(timer);
              resolve();
            },
          };
        });
      },
      left: () => left,
      stopped: () => left && !goesOn,
      onFirstWrite: () => options.onMoment?.("answering", reply.model),
    };

    let end: AttemptEnd = "faulted";
    if (script.headMs !== undefined) await play.pause(script.headMs);
    const began = script.status === undefined || script.fault !== undefined;
    if (play.stopped()) end = "abandoned";
    else if (!began) {
      end = "refused";
      progress.status = script.status ?? 500;
      sendError(response, script, progress.status);
    } else if (!(await playInstead(play, stream))) {
      const whole = stream ? await playStream(play) : await playJson(play);
      const cutByUs = script.fault !== undefined;
      end = whole ? "completed" : left && !cutByUs ? "abandoned" : "faulted";
    }
    open--;
    if (counting) record({ ...exchange, progress }, end, left);
  }

  function record(served: Served, end: AttemptEnd, clientLeft: boolean): void {
    const { id, reply, progress } = served;
    book.add({
      id,
      model: reply.model,
      stream: served.stream,
      status: progress.status,
      end,
      clientLeft,
      ...billed(served.script, reply, progress, end),
      bytes: progress.bytes,
      chunks: progress.chunks,
      startMs: served.startMs,
      tokensFromMs: progress.tokensFromMs ?? served.startMs,
      endMs: Date.now(),
    });
    options.onMoment?.("ended", reply.model);
  }

  function onControl(method: string, path: string, body: Buffer, response: ServerResponse): void {
    if (method === "GET" && path === "/sim/counts") {
      sendJson(response, 200, counts());
    } else if (method === "GET" && path === "/sim/attempts") {
      sendJson(response, 200, { records: book.list().slice(-1000) });
    } else if (method === "GET" && path.startsWith("/sim/attempts/")) {
      const id = decodeURIComponent(path.slice("/sim/attempts/".length));
      sendJson(response, book.find(id).length === 0 ? 404 : 200, { id, records: book.find(id) });
    } else if (method === "DELETE" && path === "/sim/scripts") {
      queue.clear();
      sendJson(response, 200, {});
    } else if (method === "POST" && path === "/sim/scripts") {
      try {
        const entry = JSON.parse(body.toString()) as Partial<QueuedScript>;
        queue.add({ script: readScript(entry.script), model: entry.model, times: entry.times ?? 1 });
        sendJson(response, 200, {});
      } catch (error) {
        sendText(response, 400, errorJson(400, { errorMessage: error instanceof Error ? error.message : "" }));
      }
    } else {
      sendText(response, 404, errorJson(404, {}));
    }
  }

  function counts(): Counts {
    return { ...book.sums(), open };
  }

  return {
    listen({ host = "127.0.0.1", port = 0 } = {}) {
      return new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, host, 1024, () => {
          server.off("error", reject);
          const bound = (server.address() as AddressInfo).port;
          const name = host.includes(":") ? `[${host}]` : host;
          resolve({ url: `${options.tls ? "https" : "http"}://${name}:${bound}`, port: bound });
        });
      });
    },
    async close() {
      const closed = server.listening
        ? new Promise<void>((resolve) => server.close(() => resolve()))
        : Promise.resolve();
      for (const socket of sockets) socket.destroy();
      await closed;
      await book.close();
    },
    counts,
    attempts: () => book.list(),
    attempt: (id) => book.find(id),
    received: () => received,
    endpointCalls: () => endpoints.calls,
    forgetEndpointObjects: () => endpoints.forget(),
    realtimeCalls: () => realtime.calls,
    script: (script, match) => queue.add({ script: readScript(script), model: match?.model, times: match?.times ?? 1 }),
    clearScripts: () => queue.clear(),
    cutConnections() {
      for (const socket of sockets) {
        if ("encrypted" in socket) socket.destroy();
        else socket.resetAndDestroy();
      }
    },
  };
}

/** A request and the answer that was decided for it. */
interface Exchange {
  readonly id: string;
  readonly response: ServerResponse;
  readonly script: Script;
  readonly reply: Reply;
  readonly stream: boolean;
  readonly head: ReplyHead;
  readonly includeUsage: boolean;
  readonly startMs: number;
}

interface Served extends Pick<Exchange, "id" | "script" | "reply" | "stream" | "startMs"> {
  readonly progress: Progress;
}

/** What an answer costs, by the script's manner of billing. */
function billed(
  script: Script,
  reply: Reply,
  progress: Progress,
  end: AttemptEnd,
): { inputTokens: number; outputTokens: number } {
  const all = { inputTokens: reply.inputTokens, outputTokens: reply.outputTokens };
  if (script.billing === "on-send") return all;
  const free = { inputTokens: 0, outputTokens: 0 };
  if (script.fault === "error-body" || script.fault === "html" || script.fault === "empty") return free;
  if (end !== "abandoned" && progress.status !== 200) return free;
  if (script.billing === "full" || end === "completed") return all;
  return { inputTokens: reply.inputTokens, outputTokens: progress.tokens };
}

function sendError(response: ServerResponse, script: Script, status: number): void {
  if (script.retryAfter !== undefined) response.setHeader("retry-after", script.retryAfter);
  if (script.retryAfterMs !== undefined) response.setHeader("retry-after-ms", String(script.retryAfterMs));
  sendText(response, status, errorJson(status, script));
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  sendText(response, status, JSON.stringify(value));
}

function sendText(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  return typeof value === "string" ? value : "";
}

function modelObject(id: string): object {
  return { id, object: "model", created: 1_750_000_000, owned_by: "weir" };
}
