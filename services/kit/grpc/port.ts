import { rm } from "node:fs/promises";
import {
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { joinAddress, socketOptions } from "../link/address.ts";
import { http2WindowBytes } from "../link/settings.ts";
import { contextOf, type ServerTlsOptions, type Standing, standingOf } from "./credentials.ts";
import type { Gate } from "./gate.ts";

export interface PortOptions {
  /** Undefined: without TLS. */
  readonly tls: ServerTlsOptions | undefined;
  readonly gate: Gate | undefined;
  readonly clock: Clock;
  readonly onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection) => void;
  /** Called every few seconds where there is a gate. */
  readonly onTick: (nowMs: number) => void;
}

/** A connection of HTTP/2, as its calls see it. */
export interface Connection {
  /** The other end. */
  readonly address: string | undefined;
  readonly standing: Standing;
  /** Calls that are open. */
  openCalls: number;
}

/** A port that speaks HTTP/2. */
export interface Port {
  /** @param address `host:port` or `unix:/path` @returns the address with the true port */
  listen(address: string): Promise<string>;
  /** Takes no new connections, asks the clients to go elsewhere, and resolves when the last one has gone. */
  leave(): Promise<void>;
  /** Cuts every connection. */
  close(): void;
}

const tickMs = 5_000;
/** How often a connection is asked for a sign of life, and how long the other end may take for it. */
const keepaliveMs = 60_000;
const keepaliveTimeoutMs = 20_000;
const handshakeTimeoutMs = 20_000;
/** What a call of somebody who is not of the mesh may send before it is read: many connections may have many of them. */
const gatedWindowBytes = 256 * 1024;
/** Megabytes of a connection beyond which HTTP/2 refuses calls; what calls hold is bounded by them, and far lower. */
const sessionMegabytesMax = 1_000;

export function createPort({ tls, gate, clock, onStream, onTick }: PortOptions): Port {
  const connections = new Set<OpenConnection>();
  const sockets = new Set<Socket>();
  const waiting: (() => void)[] = [];
  const http2 = http2Options(gate);
  let leaving = false;
  let cancelTick: (() => void) | undefined;

  const secure =
    tls === undefined
      ? undefined
      : createTlsServer(
          {
            ...contextOf(tls),
            requestCert: tls.ca !== undefined,
            ALPNProtocols: ["h2"],
            handshakeTimeout: handshakeTimeoutMs,
          },
          (socket) => {
            if (socket.alpnProtocol === "h2") begin(socket);
            else socket.destroy();
          },
        );
  if (tls !== undefined) tls.onRenewed?.(() => secure?.setSecureContext(contextOf(tls)));

  const listener = createServer((socket) => {
    const closed = gate?.connect(socket.remoteAddress);
    if (gate !== undefined && closed === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => {
      sockets.delete(socket);
      closed?.();
      if (sockets.size === 0) for (const tell of waiting.splice(0)) tell();
    });
    // Of those that nothing listens to: before HTTP/2 has begun, and after it has ended.
    socket.on("error", () => socket.destroy());
    if (secure === undefined) begin(socket);
    else secure.emit("connection", socket);
  });

  function begin(socket: Socket): void {
    const session = performServerHandshake(socket, http2);
    const certificate = socket instanceof TLSSocket ? socket.getPeerCertificate().subjectaltname : undefined;
    const ageMs = gate === undefined ? Infinity : gate.ageMs * (0.9 + 0.2 * Math.random());
    const connection: OpenConnection = {
      session,
      socket,
      address: socket.remoteAddress,
      standing: standingOf(tls, certificate),
      retireMs: clock.monotonic() + ageMs,
      busyMs: clock.monotonic(),
      wasCalled: false,
      openCalls: 0,
      askedMs: clock.monotonic(),
      isAsked: false,
    };
    connections.add(connection);
    session.setLocalWindowSize(http2WindowBytes);
    session.on("stream", (stream, headers) => {
      connection.wasCalled = true;
      onStream(stream, headers, connection);
    });
    session.on("close", () => connections.delete(connection));
    // What went wrong with a connection concerns its calls, which hear of it by themselves.
    session.on("error", () => undefined);
    if (leaving) session.close();
  }

  function look(limits: Gate): void {
    cancelTick = clock.after(tickMs, () => look(limits));
    const nowMs = clock.monotonic();
    for (const connection of connections) {
      const { session, openCalls, askedMs, isAsked, retireMs } = connection;
      if (openCalls > 0 || connection.wasCalled) connection.busyMs = nowMs;
      connection.wasCalled = false;
      if (isAsked && nowMs - askedMs >= keepaliveTimeoutMs) {
        cut(connection);
      } else {
        const isIdle = nowMs - connection.busyMs >= limits.idleMs;
        if ((isIdle || nowMs >= retireMs) && !session.closed) session.close();
        if (!isAsked && nowMs - askedMs >= keepaliveMs) ask(connection, nowMs);
      }
    }
    onTick(nowMs);
  }

  return {
    listen: async (address) => {
      const place = socketOptions(address);
      if ("path" in place) await removeDeadSocket(place.path);
      return new Promise((resolve, reject) => {
        listener.once("error", reject);
        listener.listen({ ...place, backlog: 2_048 }, () => {
          listener.off("error", reject);
          if (gate !== undefined) cancelTick = clock.after(tickMs, () => look(gate));
          resolve("path" in place ? address : joinAddress(place.host, (listener.address() as AddressInfo).port));
        });
      });
    },
    leave() {
      leaving = true;
      if (listener.listening) listener.close();
      for (const { session } of connections) session.close();
      return new Promise((resolve) => {
        if (sockets.size === 0) resolve();
        else waiting.push(resolve);
      });
    },
    close() {
      cancelTick?.();
      if (listener.listening) listener.close();
      for (const connection of connections) cut(connection);
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface OpenConnection extends Connection {
  readonly session: ServerHttp2Session;
  readonly socket: Socket;
  /** From when on it takes no more calls. */
  readonly retireMs: number;
  /** When it was last known to have a call, and whether one has come since somebody looked. */
  busyMs: number;
  wasCalled: boolean;
  /** When it was last asked for a sign of life, and whether it still owes one. */
  askedMs: number;
  isAsked: boolean;
}

function http2Options(gate: Gate | undefined): ServerOptions {
  return {
    maxSessionMemory: sessionMegabytesMax,
    settings:
      gate === undefined
        ? { initialWindowSize: http2WindowBytes, maxConcurrentStreams: 10_000 }
        : {
            initialWindowSize: gatedWindowBytes,
            maxConcurrentStreams: gate.callsPerConnectionMax,
            maxHeaderListSize: gate.headBytesMax,
          },
  };
}

function ask(connection: OpenConnection, nowMs: number): void {
  if (connection.session.destroyed) return;
  connection.askedMs = nowMs;
  connection.isAsked = connection.session.ping(() => {
    connection.isAsked = false;
  });
}

/** A session alone would wait until what is on its way has left, which it never does when the other end has stopped reading. */
function cut({ session, socket }: OpenConnection): void {
  session.destroy();
  socket.destroy();
}

/** A process that was killed leaves its socket behind: a file that nobody answers on, and that cannot be bound to. */
async function removeDeadSocket(path: string): Promise<void> {
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
  if (isDead) await rm(path, { force: true });
}
