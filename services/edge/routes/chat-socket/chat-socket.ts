import type { RawData, WebSocket } from "ws";
import { ChatService, type GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { methodPath } from "@weir/kit/context";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled, reasonWord, toWeirError, WeirError } from "@weir/kit/weir-error";
import type { Admit, Admitted } from "../../admission.ts";
import type { Authenticate } from "../../auth/authenticate.ts";
import { authorise } from "../../auth/authorise.ts";
import type { Caller } from "../../auth/caller.ts";
import { clientAddress } from "../../auth/client-address.ts";
import { CallerRefused } from "../../auth/refused-caller.ts";
import { watchStanding } from "../../auth/standing.ts";
import type { EdgeSettings } from "../../config.ts";
import type { Exchange } from "../../http/exchange.ts";
import { sourceOf } from "../../http/source.ts";
import { closeCodes, createWebSockets } from "../../http/web-socket.ts";
import { clientLeft, type Outcome } from "../../report.ts";
import type { PublicMethod, PublicStream } from "../../rpc/public-methods.ts";
import { tapped } from "../../rpc/tap.ts";
import { callsModels, type KeyedCall, type Route, versioned } from "../route.ts";
import { type ChatSession, createChatSession, type OpenReply } from "./session.ts";

export interface ChatSocketDeps {
  readonly methods: readonly PublicMethod[];
  readonly admit: Admit;
  readonly authenticate: Authenticate;
  readonly settings: () => EdgeSettings;
  readonly report: (outcome: Outcome) => void;
  readonly newRequestId: () => string;
  readonly clock: Clock;
  readonly log: Log;
}

/** `/v1/chat/ws`: several conversations at once on one WebSocket, in the canonical form. See weir.chat.v1.ChatSocketRequest. */
export interface ChatSockets {
  readonly routes: readonly Route[];
  /** Takes no new conversations, and closes each connection when its last one has ended. */
  drain(): void;
}

const access = callsModels("chat");
const label = "/v1/chat/ws";
/** Largest message; what is larger goes by POST. */
const messageBytesMax = 4 * 1024 * 1024;
/** What may wait in this process for a client that does not keep up, before its replies are held back. */
const highWaterBytes = 65_536;
/** How long a connection may be without a conversation. */
const idleMs = 600_000;
const socketsPerCallerMax = 100;

/** One conversation, as far as it has come. */
interface Conversation {
  readonly id: string;
  /** Monotonic. */
  readonly startMs: number;
  /** Once it is known. */
  caller?: Caller;
  firstContentMs?: number;
}

export function createChatSockets(deps: ChatSocketDeps): ChatSockets {
  const generate = deps.methods.find(({ path }) => path === methodPath(ChatService.method.generate)) as PublicStream;
  const openSocket = createWebSockets({
    protocol: "weir.chat.v1",
    messageBytesMax,
    writeStallMs: () => deps.settings().writeStallMs,
  });
  const countByCaller = new Map<string, number>();
  const sessions = new Set<ChatSession>();
  let draining = false;

  function open({ exchange, caller, admission }: KeyedCall): void {
    checkOrigin(exchange, caller, deps.settings().corsOrigins);
    const count = countByCaller.get(caller.id) ?? 0;
    if (count >= socketsPerCallerMax) {
      throw new WeirError(ErrorReason.RATE_LIMITED, {
        text: `${socketsPerCallerMax} connections of this key are open; each carries several conversations.`,
        retryAfterMs: 1_000,
      });
    }
    let usedMs = exchange.nowMs;
    const ask = watchStanding(
      exchange,
      deps.authenticate,
      (known) => authorise(known, access),
      (error) => {
        exchange.failure ??= error;
        session.expel(error);
        webSocket.close(closeCodes.policyViolation, reasonWord(error.reason));
      },
    );
    const webSocket = openSocket(exchange, () => {
      ask();
      if (session.openCount > 0) usedMs = exchange.nowMs;
      else if (draining) webSocket.close(closeCodes.serviceRestart, "the gateway is shutting down");
      else if (exchange.nowMs - usedMs > idleMs) webSocket.close(closeCodes.normal, "idle");
    });
    // Each conversation is let in by itself; the connection takes no place among the open requests of its caller.
    admission.end();
    countByCaller.set(caller.id, count + 1);
    const session = createChatSession({
      send: (data) => send(webSocket, data, () => session.resume()),
      open: (request) => begin(exchange, request),
      onDefect: (error) => deps.log.error({ error, requestId: exchange.id }, "a conversation failed"),
    });
    sessions.add(session);
    if (draining) session.drain();
    webSocket.on("message", (data: RawData, isBinary: boolean) => session.receive(data as Buffer, isBinary));
    exchange.onGone = () => {
      sessions.delete(session);
      const left = (countByCaller.get(caller.id) ?? 1) - 1;
      if (left === 0) countByCaller.delete(caller.id);
      else countByCaller.set(caller.id, left);
      session.close();
      webSocket.close(closeCodes.serviceRestart, "the gateway is shutting down");
    };
  }

  /** One conversation, let in as a request of its own. */
  async function begin(exchange: Exchange, request: GenerateRequest): Promise<OpenReply> {
    const { request: upgrade, socket } = exchange;
    const conversation: Conversation = { id: deps.newRequestId(), startMs: deps.clock.monotonic() };
    try {
      const arrival = { headers: upgrade.headers, address: socket.remoteAddress };
      const admitting = deps.admit(arrival, access, (known) => (conversation.caller = known));
      return call(exchange, request, admitting instanceof Promise ? await admitting : admitting, conversation);
    } catch (thrown) {
      tell(exchange, conversation, thrown);
      throw thrown;
    }
  }

  function call(
    exchange: Exchange,
    request: GenerateRequest,
    { caller, admission }: Admitted,
    conversation: Conversation,
  ): OpenReply {
    const { headers } = exchange.request;
    const { id: requestId, startMs } = conversation;
    const facts = { caller, admission, requestId, headers, trace: undefined, timeoutMs: undefined };
    try {
      let outcome: unknown = new CallCancelled();
      const reply = tapped(generate.call(request, facts), {
        message: () => (conversation.firstContentMs ??= deps.clock.monotonic() - startMs),
        ended: () => (outcome = undefined),
        failed: (thrown) => (outcome = thrown),
      });
      const end = (): void => {
        admission.end();
        tell(exchange, conversation, outcome);
      };
      return { reply, requestId, end };
    } catch (thrown) {
      admission.end();
      throw thrown;
    }
  }

  /** Tells of a conversation that is over. @param thrown undefined: it ended well */
  function tell({ request, socket }: Exchange, conversation: Conversation, thrown: unknown): void {
    const { id, startMs, caller, firstContentMs } = conversation;
    const left = thrown instanceof CallCancelled;
    const failure = thrown === undefined || left ? undefined : toWeirError(thrown);
    deps.report({
      id,
      method: "GET",
      label,
      status: failure?.row.openai.status ?? (left ? clientLeft : 200),
      startMs,
      isComplete: thrown === undefined,
      firstContentMs,
      caller,
      failure,
      defect: failure === thrown ? undefined : thrown,
      span: undefined,
      action: access.endpoint,
      source: () => sourceOf(clientAddress(request.headers, socket.remoteAddress, deps.settings().trustedProxies)),
    });
  }

  return {
    routes: versioned({ method: "GET", path: "/chat/ws", access, handle: open }),
    drain() {
      draining = true;
      for (const session of sessions) session.drain();
    },
  };
}

/** @param resume called when what was sent has left, for every message that had to wait */
function send(webSocket: WebSocket, data: string | Uint8Array, resume: () => void): boolean {
  webSocket.send(data, () => {
    if (webSocket.bufferedAmount <= highWaterBytes) resume();
  });
  return webSocket.bufferedAmount <= highWaterBytes;
}

/**
 * Pages of other origins may connect where CORS lets them call. Clients that are no browsers send no origin.
 * @throws CallerRefused FORBIDDEN
 */
function checkOrigin({ request: { headers } }: Exchange, caller: Caller, origins: readonly string[]): void {
  const { origin, host } = headers;
  if (origin === undefined || origins.includes("*") || origins.includes(origin)) return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw new CallerRefused(caller, ErrorReason.FORBIDDEN, "origin", {
    text: "Pages of this origin may not connect; see `edge.cors_origins`.",
  });
}
