import type { DependencyHealth } from "@weir/edge/service";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { connect, type NatsConnection } from "nats";
import { pause } from "./pause.ts";

export interface NatsOptions {
  /** `nats://host:port`, several separated by commas; a user and a password, or a token, may stand before the host. */
  readonly url: string;
  /** Name of this process, for the server's logs. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Called once, when the connection stands for the first time; from then on the client reconnects by itself, endlessly.
   * What it returns is called before the connection closes.
   */
  readonly onConnected: (connection: NatsConnection) => (timeoutMs: number) => Promise<void>;
}

export interface NatsLink {
  health(): DependencyHealth;
  close(timeoutMs: number): Promise<void>;
}

const connectTimeoutMs = 5_000;
const pauseMsMax = 5_000;

/** Connects in the background: a server that is away at start keeps no process from starting. */
export function startNats({ url, name, clock, log, onConnected }: NatsOptions): NatsLink {
  const stopping = new AbortController();
  let connection: NatsConnection | undefined;
  let connected = false;
  let end: ((timeoutMs: number) => Promise<void>) | undefined;

  const follow = async (live: NatsConnection): Promise<void> => {
    for await (const status of live.status()) {
      if (status.type === "disconnect") {
        connected = false;
        log.warn({}, "the connection to NATS is lost");
      }
      if (status.type === "reconnect") {
        connected = true;
        log.info({}, "the connection to NATS is back");
      }
    }
  };
  const run = async (): Promise<void> => {
    for (let pauseMs = 250; !stopping.signal.aborted; pauseMs = Math.min(pauseMs * 2, pauseMsMax)) {
      try {
        connection = await connect({
          ...serversOf(url),
          name,
          timeout: connectTimeoutMs,
          maxReconnectAttempts: -1,
          reconnectTimeWait: 500,
        });
        break;
      } catch (error) {
        log.warn({ error, pause_ms: pauseMs }, "NATS does not answer; trying again");
        await pause(pauseMs, clock, stopping.signal);
      }
    }
    if (connection === undefined) return;
    if (stopping.signal.aborted) {
      await connection.close();
      return;
    }
    connected = true;
    log.info({}, "connected to NATS");
    end = onConnected(connection);
    void follow(connection);
  };
  const running = run();
  return {
    health: () => ({ name: "nats", status: connected ? "up" : "down" }),
    async close(timeoutMs) {
      stopping.abort();
      await running;
      await end?.(timeoutMs);
      await connection?.close();
    },
  };
}

/** Credentials of a URL, which the client wants apart. */
function serversOf(text: string): { servers: string[]; user?: string; pass?: string; token?: string; tls?: object } {
  const urls = text.split(",").map((part) => new URL(part.trim()));
  const [first] = urls;
  const servers = urls.map((url) => `${url.hostname}:${url.port || "4222"}`);
  const tls = first?.protocol === "tls:" ? { tls: {} } : {};
  if (first === undefined || first.username === "") return { servers, ...tls };
  const user = decodeURIComponent(first.username);
  if (first.password === "") return { servers, token: user, ...tls };
  return { servers, user, pass: decodeURIComponent(first.password), ...tls };
}
