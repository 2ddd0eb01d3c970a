import type { IncomingHttpHeaders } from "node:http";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type WebSocket, WebSocketServer } from "ws";
import type { Exchange } from "./exchange.ts";

export interface WebSocketOptions {
  /** The sub-protocol that is spoken, for clients that offer it. */
  readonly protocol: string;
  /** Largest message of a client, in bytes; a larger one ends its connection with 1009. */
  readonly messageBytesMax: number;
  /** How long a client may refuse to read before its connection is cut, in milliseconds. */
  readonly writeStallMs: () => number;
}

/**
 * Makes a WebSocket of a request, which has the connection from then on; the exchange lasts until it has closed. A client that
 * shows no sign of life for a minute, or reads nothing for too long, is cut off.
 * @param onTick called every second while it is open; may close it
 * @throws WeirError INVALID_REQUEST when the request does not ask for one, or not as RFC 6455 wants it
 */
export type OpenWebSocket = (exchange: Exchange, onTick: () => void) => WebSocket;

/** RFC 6455, section 7.4, and https://www.iana.org/assignments/websocket/websocket.xhtml */
export const closeCodes = { normal: 1000, policyViolation: 1008, serviceRestart: 1012 } as const;

const tickMs = 1_000;
/** How often a client is asked for a sign of life. */
const heartbeatMs = 30_000;
/** https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 */
const tokens = /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/;
const keyShape = /^[+/0-9A-Za-z]{22}==$/;

export function createWebSockets({ protocol, messageBytesMax, writeStallMs }: WebSocketOptions): OpenWebSocket {
  const ids = new WeakMap<object, string>();
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });
  server.on("headers", (headers, request) => headers.push(`x-request-id: ${ids.get(request) ?? ""}`));

  return (exchange, onTick) => {
    const { request, socket } = exchange;
    checkHandshake(request.headers);
    const head = exchange.takeSocket();
    if (head === undefined) throw invalid("This path speaks WebSocket (RFC 6455); connect to it with `ws:` or `wss:`.");
    ids.set(request, exchange.id);
    let opened: WebSocket | undefined;
    // It calls back within the call, or has ended the connection for what the check above lets through.
    server.handleUpgrade(request, socket, head, (webSocket) => {
      opened = webSocket;
    });
    if (opened === undefined) throw invalid("The WebSocket handshake is not valid.");
    watch(exchange, opened, writeStallMs, onTick);
    return opened;
  };
}

/** Cuts off whoever is silent, or does not read. */
function watch(exchange: Exchange, webSocket: WebSocket, writeStallMs: () => number, onTick: () => void): void {
  let heardMs = exchange.nowMs;
  let askedMs = exchange.nowMs;
  let movedMs = exchange.nowMs;
  let unsentBytes = 0;
  const heard = (): void => {
    heardMs = exchange.nowMs;
  };
  webSocket.on("message", heard);
  webSocket.on("pong", heard);
  webSocket.on("ping", heard);
  // What is no WebSocket closes it, with a code that says why; nothing more is to be done.
  webSocket.on("error", () => undefined);
  const tick = (): void => {
    const { nowMs } = exchange;
    const { bufferedAmount } = webSocket;
    if (bufferedAmount === 0 || bufferedAmount < unsentBytes) movedMs = nowMs;
    unsentBytes = bufferedAmount;
    if (nowMs - movedMs > writeStallMs() || nowMs - heardMs > 2 * heartbeatMs) return webSocket.terminate();
    if (nowMs - heardMs > heartbeatMs && nowMs - askedMs > heartbeatMs) {
      askedMs = nowMs;
      webSocket.ping();
    }
    exchange.alarm(tickMs, tick);
    onTick();
  };
  exchange.alarm(tickMs, tick);
}

function checkHandshake(headers: IncomingHttpHeaders): void {
  if (headers.upgrade === undefined) return;
  if (headers["sec-websocket-version"] !== "13") throw invalid("`Sec-WebSocket-Version` must be 13.");
  if (!keyShape.test(headers["sec-websocket-key"] ?? "")) {
    throw invalid("`Sec-WebSocket-Key` must be 16 bytes in base 64.");
  }
  const protocols = headers["sec-websocket-protocol"];
  if (protocols !== undefined && !tokens.test(protocols)) {
    throw invalid("`Sec-WebSocket-Protocol` must be a list of names, with commas between them.");
  }
}

function invalid(text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text });
}
