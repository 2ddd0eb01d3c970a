import { randomUUID, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled, toWeirError, WeirError } from "@weir/kit/weir-error";
import { parseExact } from "@weir/dialect/json";
import { invalid } from "@weir/dialect/faults";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import type { Engine } from "./engine.ts";
import { answerChat, answerEmbeddings, answerModels, answerTokenCount, type Call } from "./routes.ts";

export interface ListenerOptions {
  /** The key that every call must bring. */
  readonly token: string;
  /** The models of a provider, by its id. */
  engineOf(provider: string): Engine | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** A listener on this machine's loopback address. */
export interface Listener {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Cuts all connections. */
  close(): Promise<void>;
}

/** The edge lets less through. */
const bodyBytesMax = 67_108_864;
/** The pool makes fewer calls at once. */
const connectionsMax = 4_096;

const routes = {
  "POST chat/completions": answerChat,
  "POST chat/completions/input_tokens": answerTokenCount,
  "POST embeddings": answerEmbeddings,
  "GET models": answerModels,
} as const;

/** Serves models in OpenAI's dialects, below `/PROVIDER/v1/`. */
export async function startListener(options: ListenerOptions): Promise<Listener> {
  const server = createServer((request, response) => void serve(request, response, options));
  server.maxConnections = connectionsMax;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, close: () => closeServer(server) };
}

async function closeServer(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

async function serve(request: IncomingMessage, response: ServerResponse, options: ListenerOptions): Promise<void> {
  const hangUp = new AbortController();
  response.once("close", () => hangUp.abort());
  const id = randomUUID();
  try {
    const { engine, route } = find(request, options);
    const body = request.method === "POST" ? parseBody(await readBody(request)) : {};
    const call: Call = { id, nowMs: options.clock.now(), body, signal: hangUp.signal, response };
    await route(engine, call);
  } catch (thrown) {
    if (thrown instanceof CallCancelled || hangUp.signal.aborted) response.destroy();
    else fail(response, outwards(toWeirError(thrown)), id, options.log);
  }
}

function find(request: IncomingMessage, { token, engineOf }: ListenerOptions) {
  if (!isToken(request.headers.authorization, token)) throw new WeirError(ErrorReason.API_KEY_INVALID);
  const { provider, rest } = /^\/(?<provider>[a-z][a-z0-9-]*)\/v1\/(?<rest>.*)$/.exec(request.url ?? "")?.groups ?? {};
  const engine = provider === undefined ? undefined : engineOf(provider);
  const name = `${request.method ?? ""} ${rest ?? ""}`;
  if (engine === undefined || !isRoute(name)) throw new WeirError(ErrorReason.NOT_FOUND);
  return { engine, route: routes[name] };
}

function isRoute(name: string): name is keyof typeof routes {
  return Object.hasOwn(routes, name);
}

function isToken(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bodyBytesMax) throw new WeirError(ErrorReason.REQUEST_TOO_LARGE);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function parseBody(bytes: Buffer) {
  const body = parseExact(bytes.toString());
  if (body === undefined) throw invalid("The body is not a JSON object.");
  return body;
}

/** Failures as OpenAI's clients know them. A full queue is a rate limit: this target can take no more for a while. */
function outwards(error: WeirError): WeirError {
  const { reason, metadata, retryAfterMs } = error;
  if (reason === ErrorReason.OVERLOADED) {
    return new WeirError(ErrorReason.RATE_LIMITED, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  const param = metadata["param"];
  const known = param === undefined ? undefined : openaiChat.params[param];
  if (known === undefined) return error;
  return new WeirError(reason, { text: error.message, metadata: { ...metadata, param: known }, cause: error.cause });
}

function fail(response: ServerResponse, error: WeirError, id: string, log: Log): void {
  if (error.reason === ErrorReason.INTERNAL)
    log.error({ error: error.cause ?? error }, "a call to a local model failed");
  if (response.headersSent) {
    response.end(openaiChat.renderErrorEvent(error, id));
    return;
  }
  const { status, headers, body } = openaiChat.renderError(error, id);
  // What is left of a body that was not read must not be taken for the next request.
  response.writeHead(status, { ...headers, connection: "close" }).end(body);
}
