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

type Client = ReturnType<typeof createClient>;

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
/** Who has answered nothing for so long is not there any more, though nobody said so: a cable was pulled, a firewall forgot. */
const silentMs = 3_000;

/**
 * Connects in the background, and again whenever the connection is lost, or was silent for three seconds while an answer was due. What is
 * asked for while there is none is refused at once: nothing waits for a connection.
 */
export function startRedis({ url, name, log }: RedisOptions): RedisLink {
  const hashes = new Map<string, string>();
  let isTold = false;
  let isClosed = false;
  let client = open();

  function open(): Client {
    const opened: Client = createClient({
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
    let greeted = () => {};
    opened.on("connect", () => {
      // Name and password are taken in no more time than a command has.
      greeted = renewUnless(opened);
    });
    opened.on("error", (error: unknown) => {
      greeted();
      tell({ error, reason: refusalOf(error) });
    });
    opened.on("ready", () => {
      greeted();
      isTold = false;
      log.info({}, "connected to Redis");
    });
    // It tries for ever: this fails only when it is closed.
    opened.connect().catch(() => undefined);
    return opened;
  }

  /** Once for each time that it goes away. */
  function tell(why: { readonly error?: unknown; readonly reason: string | undefined }): void {
    if (!isTold) log.warn(why, "the connection to Redis is lost");
    isTold = true;
  }

  /** Connects anew, unless what this returns is called in time. */
  function renewUnless(silent: Client): () => void {
    let isAnswered = false;
    const renew = () => {
      if (isAnswered || isClosed || client !== silent) return;
      tell({ reason: `nothing was answered for ${silentMs} ms` });
      silent.destroy();
      client = open();
    };
    // When it was this process that stood still, the answer is there and is read first.
    const timer = setTimeout(() => setImmediate(renew), silentMs).unref();
    return () => {
      isAnswered = true;
      clearTimeout(timer);
    };
  }

  function hashOf(script: string): string {
    const known = hashes.get(script);
    if (known !== undefined) return known;
    const hash = createHash("sha1").update(script).digest("hex");
    hashes.set(script, hash);
    return hash;
  }

  return {
    async run(script, keys, args) {
      const asked = client;
      if (!asked.isReady) throw new Error("there is no connection to Redis");
      const rest = [String(keys.length), ...keys, ...args];
      const answered = renewUnless(asked);
      try {
        return await asked.sendCommand(["EVALSHA", hashOf(script), ...rest]);
      } catch (error) {
        // A server that has started anew does not know the script.
        if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
        return await asked.sendCommand(["EVAL", script, ...rest]);
      } finally {
        answered();
      }
    },
    get isReady() {
      return client.isReady;
    },
    close() {
      isClosed = true;
      client.destroy();
    },
  };
}

/** The word that Redis' refusals begin with: WRONGPASS, NOPERM, LOADING. */
function refusalOf(error: unknown): string | undefined {
  return error instanceof Error ? /^[A-Z]+(?= )/.exec(error.message)?.[0] : undefined;
}
