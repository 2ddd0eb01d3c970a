import { type Dispatcher, Pool } from "undici";

/** Connections to providers: one undici pool for each origin. They outlive reloads of the configuration. */
export interface Connections {
  /** The pool of an origin; made when it is first asked for. */
  of(origin: string): Dispatcher;
  /** Gives up the pools of all other origins; their open calls go on to their end. */
  keepOnly(origins: ReadonlySet<string>): void;
  /** Closes all connections; calls that are still open break. */
  close(): Promise<void>;
}

/**
 * Longest wait for a connection to stand, whatever an attempt allows: what nobody waits for any more is given up then,
 * and with it the body that it holds.
 */
const connectTimeoutMs = 30_000;
// Idle connections are given up before the other side does it, since a call that meets its close fails. Node's and
// uvicorn's servers wait 5 s, the load balancers of hosted providers 60 s and more. A server's own `Keep-Alive` goes first.
const idleTimeoutMs = { "http:": 4_000, "https:": 30_000 } as const;

/** Passed on to node:net and node:tls. A connection reads so far ahead of an answer that is held back; the read that goes beyond comes on top. */
const socketOptions = { keepAlive: true, highWaterMark: 16 * 1024 };

/** HTTP/1.1 only, TLS verified, no proxy from the environment, no redirects followed. */
export function createConnections(): Connections {
  const pools = new Map<string, Pool>();

  return {
    of(origin) {
      let pool = pools.get(origin);
      if (pool === undefined) {
        pool = new Pool(origin, {
          // As many connections as calls: the limits of the providers bound both.
          connections: null,
          pipelining: 1,
          allowH2: false,
          connectTimeout: connectTimeoutMs,
          connect: socketOptions,
          keepAliveTimeout: origin.startsWith("https:") ? idleTimeoutMs["https:"] : idleTimeoutMs["http:"],
          // Attempts have timers of their own.
          headersTimeout: 0,
          bodyTimeout: 0,
        });
        pools.set(origin, pool);
      }
      return pool;
    },
    keepOnly(origins) {
      for (const [origin, pool] of pools) {
        if (origins.has(origin)) continue;
        pools.delete(origin);
        pool.close().catch(() => undefined); // only fails when it is closed already
      }
    },
    async close() {
      const all = [...pools.values()];
      pools.clear();
      await Promise.all(all.map((pool) => pool.destroy()));
    },
  };
}
