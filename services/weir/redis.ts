import { createHash } from "node:crypto";
import { createClient } from "@redis/client";
import type { RunScript } from "@weir/kit/limits/shared-store";
import type { Log } from "@weir/kit/log";

export interface RedisOptions {
  /** `redis://user:password@host:port/database`, or `rediss://` for TLS. A secret. */
  readonly url: string;
  /** Name of this process, for the server's list of clients. */
  readonly name: string;
  readonly log: Log;
}

export interface RedisLink {
  readonly run: RunScript;
  readonly isReady: boolean;
  close(): void;
}

const connectTimeoutMs = 2_000;
const backoffMinMs = 100;
const backoffMaxMs = 5_000;
/** Commands that wait for their answers; more are refused. */
const commandsMax = 1_000;

/**
 * Connects in the background, and again whenever the connection is lost. What is asked for while there is none is refused at once:
 * nothing waits for a connection.
 */
export function startRedis({ url, name, log }: RedisOptions): RedisLink {
  const hashes = new Map<string, string>();
  const client = createClient({
    url,
    name,
    commandsQueueMaxLength: commandsMax,
    disableOfflineQueue: true,
    socket: {
      connectTimeout: connectTimeoutMs,
      keepAlive: true,
      reconnectStrategy: (retries) =>
        Math.min(backoffMinMs * 2 ** Math.min(retries, 16), backoffMaxMs) * (0.5 + Math.random() / 2),
    },
  });
  let isTold = false;
  client.on("error", (error: unknown) => {
    // Once for each time that it goes away; its texts may hold the address, never the password.
    if (!isTold) log.warn({ error }, "the connection to Redis is lost");
    isTold = true;
  });
  client.on("ready", () => {
    isTold = false;
    log.info({}, "connected to Redis");
  });
  const connecting = client.connect().catch((error: unknown) => log.warn({ error }, "Redis cannot be connected to"));

  function hashOf(script: string): string {
    const known = hashes.get(script);
    if (known !== undefined) return known;
    const hash = createHash("sha1").update(script).digest("hex");
    hashes.set(script, hash);
    return hash;
  }

  return {
    async run(script, keys, args) {
      if (!client.isReady) throw new Error("there is no connection to Redis");
      const rest = [String(keys.length), ...keys, ...args];
      try {
        return await client.sendCommand(["EVALSHA", hashOf(script), ...rest]);
      } catch (error) {
        // A server that has started anew does not know the script.
        if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
        return await client.sendCommand(["EVAL", script, ...rest]);
      }
    },
    get isReady() {
      return client.isReady;
    },
    close() {
      client.destroy();
      void connecting;
    },
  };
}
