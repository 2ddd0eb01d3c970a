import { createServer, type IncomingMessage, ServerResponse, STATUS_CODES } from "node:http";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { renderError } from "@weir/dialect/openai/errors";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { Alarms } from "../alarms.ts";
import type { Address } from "../config.ts";
import { createDepartures } from "./departures.ts";
import { Exchange, type HeaderList } from "./exchange.ts";
import { sourceOf } from "./source.ts";

/** What a server does with requests. */
export interface ServerHandler {
  /** Answers. A rejection is given to `exchange.fail`. */
  handle(exchange: Exchange): Promise<void> | void;
  /** Appends the headers that every answer carries; the server itself adds `x-request-id`. */
  appendHeaders(exchange: Exchange, headers: HeaderList): void;
  /** An exchange has ended. */
  closed(exchange: Exchange): void;
  /** Something that is no HTTP request was answered without `handle`. */
  refused(status: number, requestId: string): void;
}

export interface ServerDeps {
  readonly clock: Clock;
  readonly alarms: Alarms;
  readonly newRequestId: () => string;
  readonly writeStallMs: () => number;
  /** Connections that one source may have open. */
  readonly connectionsPerSourceMax: () => number;
  readonly handler: ServerHandler;
}

/** A listening port. */
export interface HttpServer {
  /** Exchanges that are open. */
  readonly openCount: number;
  /** From here on every answer closes its connection. */
  beginDrain(): void;
  /** @throws Error of the system when the port cannot be opened */
  listen(address: Address): Promise<AddressInfo>;
  /** Takes no new connections; those that are open go on. */
  stopListening(): void;
  /**
   * Closes connections as they fall idle, and resolves when all are closed. One that has just been used stays for a moment:
   * its client may have sent the next request before it could know that the connection ends, and gets its answer.
   */
  leave(): Promise<void>;
  /** Fails every open exchange. */
  failAll(error: WeirError): void;
  /** Cuts every connection. */
  close(): Promise<void>;
}

/** Time for the head of a request, or more while many are late. */
const headersTimeoutMs = 30_000;
/** Time for the whole of a request, its body included. */
const requestTimeoutMs = 300_000;
/** Longer than the 60 s of common load balancers, so that they close first and never meet a closed connection. */
const keepAliveMs = 75_000;
/** How often node:http looks for requests that take too long; it looks through all connections then. */
const checkIntervalMs = 500;
/** What may wait for a client, or for a handler, in a socket's own buffers, before more is held back. */
const socketBytesMax = 16_384;
const headerBytesMax = 16_384;
const connectionsMax = 20_000;
/** Requests that one connection may have open at once, by sending them before the answers came. */
const pipelinedMax = 100;
/** How long a connection that sent garbage stays, so that its client comes to read the answer. */
const partingMs = 1_000;
/** How long a connection stays after its last answer when the service ends: a round trip and a client's next step. */
const againMs = 250;
const leaveCheckMs = 25;

interface Connection {
  readonly open: Set<Exchange>;
  /** When it came, or had its last answer; monotonic. */
  usedMs: number;
  /** What came is no HTTP, or too much at once: the connection is on its way out, and no request is taken from it any more. */
  broken: boolean;
  /** Requests that came after that; with more than a hundred the connection is cut. */
  ignored: number;
}

export function createHttpServer(deps: ServerDeps): HttpServer {
  const { clock, alarms, handler } = deps;
  const connections = new Map<Duplex, Connection>();
  const countBySource = new Map<string, number>();
  let openCount = 0;
  let draining = false;
  const urgentCount = (): number => connections.size - connectionsMax / 2;
  /** Connections whose time for a head is over. */
  const lateHeads = createDepartures<Duplex>({
    clock,
    end(socket) {
      const error = new WeirError(ErrorReason.REQUEST_TIMEOUT);
      refuse(socket, error, error.row.openai.status);
    },
    urgentCount,
  });
  /** Exchanges whose client does not read. */
  const stalled = createDepartures<Exchange>({ clock, end: (exchange) => exchange.cutStalled(), urgentCount });

  const host = {
    alarms,
    writeStallMs: deps.writeStallMs,
    appendHeaders(exchange: Exchange, headers: HeaderList) {
      headers.push("x-request-id", exchange.id);
      handler.appendHeaders(exchange, headers);
      if (draining || exchange.isLast) headers.push("connection", "close");
    },
    stalled: (exchange: Exchange) => stalled.add(exchange),
    closed(exchange: Exchange) {
      alarms.delete(exchange);
      stalled.delete(exchange);
      const connection = connections.get(exchange.socket);
      if (connection !== undefined) {
        connection.open.delete(exchange);
        connection.usedMs = clock.monotonic();
      }
      openCount -= 1;
      handler.closed(exchange);
    },
  };

  function accept(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
    upgradeHead?: Buffer,
  ): void {
    const connection = connections.get(request.socket);
    if (connection?.broken) {
      // It was refused, and is told so. Behind answers under way node:http keeps what is not answered.
      connection.ignored += 1;
      if (connection.ignored > pipelinedMax) request.socket.destroy();
      return;
    }
    lateHeads.delete(request.socket);
    const exchange = new Exchange(
      host,
      request,
      response,
      deps.newRequestId(),
      clock.monotonic(),
      expectsContinue,
      upgradeHead,
    );
    openCount += 1;
    alarms.add(exchange);
    connection?.open.add(exchange);
    if (connection === undefined || connection.open.size > pipelinedMax) {
      // Refusing each of thousands would fill the socket, which then is not read any more, not even of its client's leaving.
      if (connection !== undefined) connection.broken = true;
      exchange.isLast = true;
      exchange.fail(new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 }));
      return;
    }
    try {
      const done = handler.handle(exchange);
      if (done !== undefined) done.catch((thrown: unknown) => exchange.fail(thrown));
    } catch (thrown) {
      exchange.fail(thrown);
    }
  }

  const server = createServer({
    maxHeaderSize: headerBytesMax,
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: checkIntervalMs,
    insecureHTTPParser: false,
    highWaterMark: socketBytesMax,
    // Node would answer without a body and without our headers.
    requireHostHeader: false,
    // Whoever asks for another protocol, or behind a request under way, is answered as if it had not.
    shouldUpgradeCallback: (request) => asksForWebSocket(request) && isFree(request.socket),
  });
  server.maxConnections = connectionsMax;
  server.on("connection", (socket: Socket) => {
    const connection: Connection = { open: new Set(), usedMs: clock.monotonic(), broken: false, ignored: 0 };
    connections.set(socket, connection);
    const source = sourceOf(socket.remoteAddress);
    const count = (countBySource.get(source) ?? 0) + 1;
    countBySource.set(source, count);
    socket.on("close", () => {
      connections.delete(socket);
      lateHeads.delete(socket);
      const left = (countBySource.get(source) ?? 1) - 1;
      if (left === 0) countBySource.delete(source);
      else countBySource.set(source, left);
      // Also those that wait behind others on this connection, of which not every node:http tells.
      for (const exchange of connection.open) exchange.close();
    });
    if (count > deps.connectionsPerSourceMax()) {
      const error = new WeirError(ErrorReason.RATE_LIMITED, {
        text: "Too many connections from this address; close some, or share them between requests.",
        retryAfterMs: 1_000,
      });
      refuse(socket, error, error.row.openai.status);
    }
  });
  server.on("request", (request, response) => accept(request, response, false));
  server.on("checkContinue", (request, response) => accept(request, response, true));
  server.on("checkExpectation", (request, response) => accept(request, response, false));
  server.on("upgrade", (request, socket: Socket, head: Buffer) => {
    // Until a route takes the connection over, this is a request like any other.
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.on("finish", () => {
      response.detachSocket(socket);
      socket.destroySoon();
    });
    socket.on("error", () => socket.destroy());
    accept(request, response, false, head);
  });
  server.on("connect", (_request, socket: Duplex) => {
    // node:http does not listen to it any more.
    socket.on("error", () => socket.destroy());
    if (!isFree(socket)) {
      // An answer is under way that must not be mixed with another.
      socket.destroy();
      return;
    }
    const error = new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { text: "This is no proxy; CONNECT is not answered." });
    refuse(socket, error, error.row.openai.status);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    const connection = connections.get(socket);
    if (connection?.broken) return;
    const answer = describeParserError(error.code);
    if (answer === undefined) {
      socket.destroy();
      return;
    }
    const [open] = connection?.open ?? [];
    if (open === undefined) {
      if (error.code === timeoutCode) lateHeads.add(socket);
      else refuse(socket, answer.error, answer.status);
    } else if (connection?.open.size === 1 && !open.request.complete) {
      // It is the body of the one request under way that came too slowly or not as HTTP.
      connection.broken = true;
      open.bodyEnded = true;
      open.fail(answer.error);
    } else {
      // Nobody knows where the next request begins, and an answer is under way that must not be mixed with another.
      socket.destroy();
    }
  });

  /** Whether a request may have a connection for itself: it was not refused, and no answer is under way on it. */
  function isFree(socket: Duplex): boolean {
    const connection = connections.get(socket);
    return connection?.broken === false && connection.open.size === 0;
  }

  /** Answers on a connection whose bytes are no request, and closes it. */
  function refuse(socket: Duplex, error: WeirError, status: number): void {
    const connection = connections.get(socket);
    if (connection !== undefined) connection.broken = true;
    lateHeads.delete(socket);
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const id = deps.newRequestId();
    socket.end(rawAnswer(error, status, id));
    const cancel = clock.after(partingMs, () => socket.destroy());
    socket.once("close", cancel);
    handler.refused(status, id);
  }

  return {
    get openCount() {
      return openCount;
    },
    beginDrain() {
      draining = true;
    },
    listen: ({ host: name, port }) =>
      new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: name, port, backlog: 2_048 }, () => {
          server.off("error", reject);
          resolve(server.address() as AddressInfo);
        });
      }),
    stopListening() {
      // node:http's own close cuts idle connections as well, however short they have been idle.
      if (server.listening) NetServer.prototype.close.call(server);
    },
    async leave() {
      while (connections.size > 0) {
        const idleSinceMs = clock.monotonic() - againMs;
        for (const [socket, { open, usedMs }] of connections) {
          if (open.size === 0 && usedMs <= idleSinceMs) socket.destroy();
        }
        await new Promise<void>((resolve) => clock.after(leaveCheckMs, resolve));
      }
    },
    failAll(error) {
      for (const connection of connections.values()) {
        for (const exchange of connection.open) exchange.fail(error);
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of connections.keys()) socket.destroy();
      }),
  };
}

/** Whether a request asks for WebSocket as RFC 6455 wants it: of one with a body, node:http gives something else than the connection away. */
function asksForWebSocket({ headers, httpVersionMinor }: IncomingMessage): boolean {
  const hasBody = headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
  return headers.upgrade?.toLowerCase() === "websocket" && httpVersionMinor === 1 && !hasBody;
}

const timeoutCode = "ERR_HTTP_REQUEST_TIMEOUT";

/** Undefined: there is nobody to answer. */
function describeParserError(code: string | undefined): { error: WeirError; status: number } | undefined {
  if (code === undefined || code === "ECONNRESET" || code === "EPIPE" || code === "ETIMEDOUT") return undefined;
  if (code === timeoutCode) {
    const error = new WeirError(ErrorReason.REQUEST_TIMEOUT);
    return { error, status: error.row.openai.status };
  }
  if (code === "HPE_HEADER_OVERFLOW") {
    const text = `The request's headers are larger than ${headerBytesMax} bytes.`;
    return { error: new WeirError(ErrorReason.INVALID_REQUEST, { text }), status: 431 };
  }
  const text = "The request is not valid HTTP/1.1.";
  return { error: new WeirError(ErrorReason.INVALID_REQUEST, { text }), status: 400 };
}

function rawAnswer(error: WeirError, status: number, requestId: string): string {
  const { headers, body } = renderError(error);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    `date: ${new Date().toUTCString()}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `x-request-id: ${requestId}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}
