import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import type { AnswerOptions, Codec, FrameWriter } from "@weir/dialect/codec";
import { writeFrames } from "@weir/dialect/framing/writer";
import { type JsonObject, parseExact } from "@weir/dialect/json";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { VendorKind } from "./kinds.ts";
import type { Break, Script } from "./script.ts";

/** One call that a vendor got, and what it made of it. */
export interface Served {
  /** Id of the attempt, as the gateway names it. */
  readonly attemptId: string;
  readonly model: string;
  readonly stream: boolean;
  readonly headers: IncomingHttpHeaders;
  readonly path: string;
  /** The body as it came. */
  readonly body: string;
  /** The body as the vendor's dialect reads it. */
  readonly request: GenerateRequest;
  /** What was sent so far. */
  readonly sent: () => string;
  /** What the vendor bills; undefined for what it did not finish. */
  readonly billed: () => Usage | undefined;
  /** Resolves when the caller hangs up before the answer's end. */
  readonly hungUp: Promise<void>;
}

/** A simulated vendor. */
export interface Vendor {
  readonly url: string;
  /** What the calls for a model get. */
  script(model: string, script: Script): void;
  /** The calls for a model, in order. */
  calls(model: string): readonly Served[];
  readonly served: readonly Served[];
  /** Calls that were no calls of the vendor's API: another path, no credential, a body of another dialect. */
  readonly strangers: readonly string[];
  close(): Promise<void>;
}

/** Starts a vendor on 127.0.0.1. It answers as it is told, in its own dialect; calls that nobody told of get status 404. */
export async function startVendor(kind: VendorKind): Promise<Vendor> {
  const scripts = new Map<string, Script>();
  const served: Served[] = [];
  const strangers: string[] = [];

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = await readCall(kind, request, response);
    if (typeof call === "string") {
      strangers.push(call);
      response.writeHead(401, { "content-type": "application/json" }).end("{}");
      return;
    }
    served.push(call.served);
    const script = scripts.get(call.served.model);
    if (script === undefined) response.writeHead(404, { "content-type": "application/json" }).end("{}");
    else await answer(kind, call, script, response);
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      strangers.push(String(error instanceof Error ? error.stack : error));
      response.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    script: (model, script) => void scripts.set(model, script),
    calls: (model) => served.filter((call) => call.model === model),
    served,
    strangers,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A call that is being answered. */
interface OpenCall {
  readonly served: Served;
  readonly json: JsonObject;
  readonly pieces: Buffer[];
  bill(usage: Usage | undefined): void;
}

/** @returns what is wrong with a call that is none of this vendor's */
async function readCall(
  { codec, readPath, isAuthorized }: VendorKind,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<OpenCall | string> {
  const { headers, url: path = "" } = request;
  const hungUp = new Promise<void>((resolve) => {
    response.on("close", () => {
      if (!response.writableEnded) resolve();
    });
  });
  const body = await buffer(request);
  const inPath = request.method === "POST" ? readPath(path) : undefined;
  if (inPath === undefined) return `${request.method} ${path}`;
  if (!(await isAuthorized({ headers, path, body }))) return `${path}: no credential`;
  const json = parseExact(body.toString());
  if (json === undefined) return `${path}: no JSON object`;
  const envelope = codec.readEnvelope(json);
  const pieces: Buffer[] = [];
  let billed: Usage | undefined;
  const served: Served = {
    attemptId: String(headers["x-client-request-id"]),
    model: inPath.model ?? envelope.model ?? "",
    stream: inPath.stream ?? envelope.stream ?? false,
    headers,
    path,
    body: body.toString(),
    request: codec.readRequest(json),
    sent: () => Buffer.concat(pieces).toString(),
    billed: () => billed,
    hungUp,
  };
  return { served, json, pieces, bill: (usage) => void (billed = usage) };
}

async function answer(kind: VendorKind, call: OpenCall, script: Script, response: ServerResponse): Promise<void> {
  const { codec } = kind;
  const options: AnswerOptions = {
    id: `own-${call.served.attemptId}`,
    createTimeMs: 1_760_000_000_000,
    model: call.served.model,
    includeUsage: codec.readEnvelope(call.json).includeUsage,
    request: call.json,
  };
  if (script.kind === "refusal") {
    const { body, headers } = kind.refusals[script.status];
    const all = { "content-type": "application/json", ...headers, ...script.headers };
    response.writeHead(script.status, all).end(JSON.stringify(body));
  } else if (call.served.stream) {
    response.writeHead(200, { "content-type": mediaTypes[codec.framing] });
    const writer = codec.createFrameWriter(options);
    const whole = await sendEvents(codec, writer, script.events, call.pieces, response);
    if (script.kind === "broken") breakOff(codec, script.how, response);
    else if (whole) {
      call.bill(usageOf(script.events));
      response.end();
    }
  } else if (script.kind === "answer") {
    const body = Buffer.from(codec.writeAnswer(script.events, options));
    call.pieces.push(body);
    call.bill(usageOf(script.events));
    response.writeHead(200, { "content-type": "application/json" }).end(body);
  } else if (script.how !== "silence") {
    response.destroy();
  }
}

/** https://docs.ollama.com/api/streaming, https://smithy.io/2.0/aws/amazon-eventstream.html */
const mediaTypes = {
  sse: "text/event-stream; charset=utf-8",
  ndjson: "application/x-ndjson",
  "aws-event-stream": "application/vnd.amazon.eventstream",
} as const;

/**
 * Sends events one after another, each in two pieces that are cut where no frame ends.
 * @returns false when nobody reads any more
 */
async function sendEvents(
  codec: Codec,
  writer: FrameWriter,
  events: readonly GenerateEvent[],
  pieces: Buffer[],
  response: ServerResponse,
): Promise<boolean> {
  for (const event of events) {
    const bytes = Buffer.from(writeFrames(codec.framing, writer.write(event)));
    const middle = bytes.length >> 1;
    for (const piece of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
      if (piece.length === 0) continue;
      if (response.destroyed) return false;
      pieces.push(piece);
      response.write(piece);
      await setImmediate();
    }
  }
  return true;
}

function breakOff(codec: Codec, how: Break, response: ServerResponse): void {
  switch (how) {
    case "cut":
      response.destroy();
      break;
    case "short":
      response.end();
      break;
    case "error":
      response.end(codec.renderErrorEvent(new WeirError(ErrorReason.INTERNAL), "req_of_the_vendor"), "latin1");
      break;
    case "silence":
      break;
  }
}

function usageOf(events: readonly GenerateEvent[]): Usage | undefined {
  for (const { kind } of events) if (kind.case === "end") return kind.value.usage;
  return undefined;
}
