import { parseObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ForwardResponse } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { callMetadata, type Metadata } from "@weir/kit/call";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { toWeirError, WeirError } from "@weir/kit/weir-error";
import type { RawData, WebSocket } from "ws";
import type { Authenticate } from "../../auth/authenticate.ts";
import { authorise } from "../../auth/authorise.ts";
import { type Caller, principalHeaderFor } from "../../auth/caller.ts";
import { watchStanding } from "../../auth/standing.ts";
import { readTags } from "../../auth/tags.ts";
import { type Names, noNames } from "../../files/kept-names.ts";
import type { Exchange } from "../../http/exchange.ts";
import type { Admission } from "../../limits/limits.ts";
import { closeCodes, createWebSockets } from "../../http/web-socket.ts";
import { aliasOf, outputTokensGuess } from "../generate.ts";
import { callsModels, type KeyedCall, type Route, versioned, versionedAsOpenai } from "../route.ts";
import { EventGate } from "./event-gate.ts";
import { EventQueue } from "./event-queue.ts";
import type { PassthroughDeps } from "./handler.ts";

export interface RealtimeDeps extends PassthroughDeps {
  readonly authenticate: Authenticate;
}

const access = callsModels("realtime");
/** Largest event of a client: OpenAI takes 15 MiB of sound in one. */
const eventBytesMax = 16 * 1024 * 1024;
/** What may wait for either side before the other one is not read any more. */
const waitingBytesMax = 256 * 1024;
/** RFC 6455, section 7.4.1. */
const unsupportedData = 1003;
const serverFault = 1011;

/**
 * `GET /v1/realtime?model=`: a session of OpenAI's Realtime over WebSocket, whose events pass as they are. The provider is connected
 * before the client's handshake is answered, so that a refusal has its own status.
 * https://platform.openai.com/docs/guides/realtime-websocket
 */
export function createRealtime(deps: RealtimeDeps): Route[] {
  const openSocket = createWebSockets({
    protocol: "realtime",
    messageBytesMax: eventBytesMax,
    writeStallMs: () => deps.settings().writeStallMs,
  });

  async function open({ exchange, caller, admission }: KeyedCall): Promise<void> {
    const { request } = exchange;
    if (request.headers.upgrade?.toLowerCase() !== "websocket") {
      throw new WeirError(ErrorReason.INVALID_REQUEST, {
        text: "Realtime speaks WebSocket (RFC 6455); connect to it with `ws:` or `wss:`.",
      });
    }
    const model = aliasOf(new URLSearchParams(request.url?.split("?", 2)[1] ?? "").get("model") ?? "");
    checkModel(caller, model);
    const reserving = admission.reserve(model, outputTokensGuess);
    if (reserving !== undefined) await reserving;
    const principal = principalHeaderFor(caller, undefined, readTags(request.headers));
    const metadata = callMetadata(principal, exchange.id, exchange.trace);
    const check = (names: Names) => deps.ownNames.check(names, { caller, metadata, alias: model });
    await check(noNames);
    if (exchange.isOver) return;
    // What a session used is known when its connection may be gone.
    const held = admission.handOver();
    try {
      await begin(exchange, { model, metadata, check }, held);
    } catch (thrown) {
      held.end();
      throw thrown;
    }
  }

  /** Connects the provider, and then the client. */
  async function begin(exchange: Exchange, { model, metadata, check }: Session, held: Admission): Promise<void> {
    const { request } = exchange;
    const beta = request.headers["openai-beta"];
    let socket: WebSocket;
    let refuse: (error: WeirError) => void = () => undefined;
    let resume: () => void = () => undefined;
    const events = new EventQueue(
      {
        endpoint: "realtime",
        method: "GET",
        path: "/realtime",
        alias: model,
        stream: true,
        headers: beta === "realtime=v1" || offersBeta(request.headers) ? { "openai-beta": "realtime=v1" } : {},
      },
      () => resume(),
    );
    const reply = deps.passthrough.forward(events.stream, { metadata });
    exchange.onGone = () => void reply.return();
    const first = await reply.next();
    if (first.done === true) throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
    if (exchange.isOver) return held.end();
    try {
      const ask = watchStanding(
        exchange,
        deps.authenticate,
        (known) => {
          authorise(known, access);
          checkModel(known, model);
        },
        (error) => refuse(error),
      );
      socket = openSocket(exchange, ask);
    } catch (thrown) {
      void reply.return();
      throw thrown;
    }
    ({ leave: refuse, resume } = connect(exchange, socket, { events, check }, reply, held));
  }

  return [
    ...versionedAsOpenai({ method: "GET", path: "/realtime", access, handle: open }),
    ...secretPaths.flatMap((path) => versioned({ method: "POST", path, access, handle: refuseSecret })),
  ];
}

/** Where OpenAI gives secrets to clients, and where clients begin WebRTC with one; nothing of it is served. */
export const secretPaths: readonly string[] = [
  "/realtime/client_secrets",
  "/realtime/sessions",
  "/realtime/transcription_sessions",
  "/realtime/calls",
];

/** A secret of the provider would let its holder talk past the gateway: unmetered, and without limits. */
function refuseSecret(): never {
  throw new WeirError(ErrorReason.NOT_FOUND, {
    text: "Client secrets are not issued here; connect to /v1/realtime with a key of the gateway.",
  });
}

/** @throws WeirError MODEL_FORBIDDEN */
function checkModel(caller: Caller, model: string): void {
  if (!caller.mayCall(model)) throw new WeirError(ErrorReason.MODEL_FORBIDDEN, { metadata: { model } });
}

/** Browsers name the beta among the sub-protocols. */
function offersBeta(headers: Exchange["request"]["headers"]): boolean {
  return /(?:^|,) *openai-beta\.realtime-v1(?: *,|$)/.test(headers["sec-websocket-protocol"] ?? "");
}

/** A session that may be opened. */
interface Session {
  readonly model: string;
  readonly metadata: Metadata;
  /** Lets an event name what it names, or fails. */
  readonly check: (names: Names) => Promise<void>;
}

/** What others may do to a session. */
interface Connection {
  /** Ends it, and tells the client why. */
  leave(error: WeirError): void;
  /** What the client said has been taken. */
  resume(): void;
}

/** Hands events both ways, each as fast as its reader takes it, until either side ends. */
function connect(
  exchange: Exchange,
  socket: WebSocket,
  { events, check }: { readonly events: EventQueue; readonly check: Session["check"] },
  reply: ReplyStream<ForwardResponse>,
  held: Admission,
): Connection {
  let gone = false;
  const gate = new EventGate({
    check,
    pass: (event) => events.push(event),
    refuse: (error, event) => socket.send(errorEvent(error, exchange.id, eventIdOf(event))),
    onEmpty: resume,
  });

  function resume(): void {
    if (socket.isPaused && waitingBytes() <= waitingBytesMax) socket.resume();
  }

  function waitingBytes(): number {
    return events.waitingBytes + gate.waitingBytes;
  }

  const read = (): void => {
    try {
      while (gone || socket.bufferedAmount <= waitingBytesMax) {
        const message = reply.poll();
        if (message === undefined) break;
        take(message);
      }
    } catch (thrown) {
      fail(toWeirError(thrown));
    }
  };

  function take({ payload }: ForwardResponse): void {
    if (payload.case === "data" && !gone) {
      // Told of, whatever becomes of it, so that reading goes on.
      socket.send(payload.value, { binary: false }, () => {
        if (socket.bufferedAmount <= waitingBytesMax) read();
      });
    } else if (payload.case === "end") {
      const { inputTokens = 0, outputTokens = 0 } = payload.value.usage ?? {};
      held.settle(inputTokens + outputTokens);
      held.end();
      socket.close(closeCodes.normal);
    }
  }

  function fail(error: WeirError): void {
    held.end();
    say(error);
  }

  function say(error: WeirError): void {
    exchange.failure ??= error;
    socket.send(errorEvent(error, exchange.id));
    socket.close(closeCodeOf(error), error.row.openai.code ?? "");
  }

  socket.on("message", (data: RawData, isBinary: boolean) => {
    if (isBinary) socket.close(unsupportedData, "events are texts of JSON");
    else if (!gone) {
      gate.push(data as Buffer);
      if (waitingBytes() > waitingBytesMax) socket.pause();
    }
  });
  function leave(error: WeirError): void {
    if (gone) return;
    gone = true;
    gate.close();
    // Nothing is said any more to a client that has left; one that is given up learns why.
    if (socket.readyState === socket.OPEN) say(error);
    events.end();
    read();
  }

  exchange.onGone = () => leave(shuttingDown());
  reply.onReady = read;
  read();
  return { leave, resume };
}

function shuttingDown(): WeirError {
  return new WeirError(ErrorReason.OVERLOADED, {
    text: "The gateway is shutting down; connect again.",
    retryAfterMs: 1_000,
  });
}

function closeCodeOf({ reason }: WeirError): number {
  if (reason === ErrorReason.OVERLOADED) return closeCodes.serviceRestart;
  return refusals.has(reason) ? closeCodes.policyViolation : serverFault;
}

/** What a client has itself to answer for. */
const refusals: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.BUDGET_EXHAUSTED,
  ErrorReason.RATE_LIMITED,
  ErrorReason.API_KEY_INVALID,
  ErrorReason.FORBIDDEN,
  ErrorReason.MODEL_FORBIDDEN,
]);

/** https://platform.openai.com/docs/api-reference/realtime-server-events/error */
function errorEvent(error: WeirError, requestId: string, eventId: string | null = null): string {
  const { type, code } = error.row.openai;
  return JSON.stringify({
    type: "error",
    event_id: `event_${requestId}`,
    error: { type, code, message: error.message, param: null, event_id: eventId },
  });
}

const eventIdMax = 512;

/** By which a client knows an event of its own. */
function eventIdOf(event: Buffer): string | null {
  const id = parseObject(event.toString())?.["event_id"];
  return typeof id === "string" && id.length <= eventIdMax ? id : null;
}
