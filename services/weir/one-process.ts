import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import type { ProcessLog } from "@weir/kit/log";
import { type RunningServices, startServices } from "./compose.ts";
import {
  createDataFolder,
  createSocketFolder,
  type DataFolder,
  readTextFile,
  writePrivateFile,
} from "./data-folder.ts";
import { refuseFolderInUse } from "./folder-in-use.ts";
import { ensureFirstKey, type FirstKey } from "./first-key.ts";
import { type Environment, environmentOf, type Settings, withoutSettings } from "./settings.ts";
import { waitUntilKnown, waitUntilReady } from "./readiness.ts";
import { supervise, type Supervised } from "./supervisor.ts";
import { pickModel } from "./welcome.ts";
import { OperatorError } from "./operator-error.ts";

export interface OneProcessOptions {
  readonly settings: Settings;
  /** Where `${NAME}` of weir.yaml and the keys of vendors come from. Default: that of the process. */
  readonly env?: Environment;
  readonly log: ProcessLog;
  /** Gets the log lines of metering's process. */
  readonly onLine: (line: string) => void;
  /** Told of steps that take long, for people. */
  readonly onProgress?: (text: string) => void;
}

/** A whole gateway: everything in this process but metering, whose embedded database would block it. */
export interface OneProcess extends RunningServices {
  readonly url: string;
  readonly key: FirstKey;
  readonly folder: DataFolder;
  /** A model that answers; undefined when there is none. */
  readonly model: string | undefined;
  /** Of metering's process; undefined while it starts again. */
  meteringPid(): number | undefined;
}

const main = join(import.meta.dirname, "main.ts");
/** The first start creates a database: a few seconds, on a slow machine more. */
const readyTimeoutMs = 120_000;
const meteringStopMs = 15_000;
/** Whoever stops a gateway that starts ends its process. */
const neverStopped = new AbortController().signal;

/**
 * Starts a gateway that needs no other server. Metering runs as a child process, reached over a socket that only this user
 * can open; it ends when this process does, however that ends. Resolves when the edge is ready, and knows a key that was made now.
 * @throws Error that names the fix when the data folder is in use or the port is taken; nothing is left running then
 */
export async function startOneProcess(options: OneProcessOptions): Promise<OneProcess> {
  const { settings, log } = options;
  const env = options.env ?? process.env;
  const folder = createDataFolder(settings.dataDir);
  await refuseFolderInUse(folder);
  const sockets = createSocketFolder(folder);
  const address = `unix:${join(sockets.path, `metering-${process.pid}.sock`)}`;
  if (settings.databaseUrl === undefined && !existsSync(folder.database)) {
    options.onProgress?.("creating the database (only at the first start)");
  }

  const childSettings = { ...settings, listen: address, peers: {}, tls: undefined };
  const child = startMeteringProcess(options, { ...withoutSettings(env), ...environmentOf(childSettings) });
  let starting: Promise<RunningServices> | undefined;
  let ended: Promise<void> | undefined;
  const end = (stop: (running: RunningServices) => Promise<void>): Promise<void> => {
    ended ??= (async () => {
      // The gateway first: it hands its last usage to metering.
      // A start that failed has undone itself, and whoever began it is told.
      const running = await starting?.catch(() => undefined);
      if (running !== undefined) await stop(running);
      await child.process.stop(meteringStopMs);
      if (readTextFile(folder.meteringAddress) === address) rmSync(folder.meteringAddress, { force: true });
      sockets.remove();
    })();
    return ended;
  };
  try {
    await child.ready;
    starting = startServices(["edge", "router", "pool"], { ...settings, peers: { metering: [address] } }, { env, log });
    const running = await starting;
    if (running.url === undefined) throw new Error("the edge has no address");
    writePrivateFile(folder.meteringAddress, `${address}\n`);
    const key = await ensureFirstKey(running.clients.accounts, folder);
    await waitUntilReady(running.url, neverStopped);
    await waitUntilKnown(running.url, key, neverStopped);
    const { routes } = await running.clients.routes.listRoutes({}, { timeoutMs: 5_000 });
    return {
      ...running,
      url: running.url,
      key,
      folder,
      model: pickModel(routes),
      meteringPid: () => child.process.pid(),
      drain: (timeoutMs) => end((services) => services.drain(timeoutMs)),
      close: () => end((services) => services.close()),
    };
  } catch (error) {
    await end((services) => services.close());
    throw error;
  }
}

interface MeteringProcess {
  readonly process: Supervised;
  /** Resolves when it serves for the first time; rejects when it ends before. */
  readonly ready: Promise<void>;
}

function startMeteringProcess({ log, onLine }: OneProcessOptions, env: Environment): MeteringProcess {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let isReady = false;
  let lastLine = "";
  const fail = (how: string) => {
    reject(new OperatorError(`metering did not start (${how})${lastLine === "" ? "" : `: ${messageOf(lastLine)}`}`));
  };
  const cancelTimer = systemClock.after(readyTimeoutMs, () => fail(`not ready after ${readyTimeoutMs / 1_000} s`));
  const child = supervise(
    { name: "metering", command: process.execPath, args: [main, "serve", "metering"], env, tethered: true },
    {
      clock: systemClock,
      onLine(_name, line) {
        if (!isReady) lastLine = line;
        onLine(line);
      },
      onMessage(_name, message) {
        if (typeof message !== "object" || message === null || !("kind" in message) || message.kind !== "ready") return;
        isReady = true;
        cancelTimer();
        resolve();
      },
      onExit(_name, how, restartMs) {
        if (!isReady) fail(how);
        else log.error({ how, restart_ms: restartMs }, "metering ended and will be started again");
      },
    },
  );
  return { process: child, ready: promise };
}

/** The text of a log line, or the line as it is. */
function messageOf(line: string): string {
  try {
    const { message } = JSON.parse(line) as { message?: unknown };
    return typeof message === "string" ? message : line;
  } catch {
    return line;
  }
}
