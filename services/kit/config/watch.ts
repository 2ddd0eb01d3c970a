import { statSync } from "node:fs";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { ConfigError } from "./fault.ts";
import { type LoadOptions, loadConfigFiles } from "./load.ts";

export interface WatchOptions extends LoadOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Puts a configuration into force. A throw counts as a bad file: the former one stays in force. */
  readonly apply: (config: Config) => void | Promise<void>;
  /** Pause between two looks at the files, in milliseconds. Default 1000. */
  readonly intervalMs?: number;
}

/** For /health. */
export interface ConfigStatus {
  /** When the configuration in force was loaded, in milliseconds since 1970. */
  readonly loadTimeMs: number;
  /** Why the newest file is not in force; undefined when it is. No values of the file. */
  readonly fault: string | undefined;
}

export interface ConfigWatch {
  status(): ConfigStatus;
  /** Looks at once; resolves when a change that it found is in force or refused. */
  check(): Promise<void>;
  close(): void;
}

/**
 * Loads the configuration, applies it, and does so again whenever the file, or a file that it names, has changed. Files
 * are looked at in intervals: notifications of the file system miss what editors and mounted volumes do.
 * @throws ConfigError, or what `apply` throws, for the first configuration; later ones are logged and shown by `status`
 */
export async function watchConfig(options: WatchOptions): Promise<ConfigWatch> {
  const { clock, log } = options;
  const intervalMs = options.intervalMs ?? 1_000;
  const watched = new Map<string, string>();
  /** Notes how files stand, those that are new here too; whether any differs from what was noted before. */
  const look = (files: Iterable<string>): boolean => {
    let changed = false;
    for (const file of files) {
      const mark = markOf(file);
      changed ||= watched.get(file) !== mark;
      watched.set(file, mark);
    }
    return changed;
  };
  /** Files are looked at before they are read, so that a change while reading is found at the next look. */
  const load = async (): Promise<void> => {
    for (let round = 0; ; round++) {
      let files: readonly string[];
      let error: unknown;
      let loaded: Awaited<ReturnType<typeof loadConfigFiles>> | undefined;
      try {
        loaded = await loadConfigFiles(options);
        files = loaded.files;
      } catch (thrown) {
        error = thrown;
        files = thrown instanceof ConfigError ? thrown.files : [];
      }
      const fresh = files.filter((file) => !watched.has(file));
      look(fresh);
      if (fresh.length > 0 && round < 3) continue;
      if (loaded === undefined) throw error;
      for (const file of watched.keys()) if (!files.includes(file)) watched.delete(file);
      await options.apply(loaded.config);
      return;
    }
  };

  await load();
  let status: ConfigStatus = { loadTimeMs: clock.now(), fault: undefined };
  let closed = false;
  let cancel = () => {};
  let checking: Promise<void> | undefined;

  const reload = async (): Promise<void> => {
    if (closed || !look([...watched.keys()])) return;
    try {
      await load();
      status = { loadTimeMs: clock.now(), fault: undefined };
      log.info({ files: watched.size }, "the configuration has changed and is in force");
    } catch (error) {
      const fault = error instanceof ConfigError ? error.message : "the configuration could not be put into force";
      status = { ...status, fault };
      const faults = error instanceof ConfigError ? error.faults.map(({ path, text }) => `${path}: ${text}`) : [];
      log.error({ error, faults }, "the changed configuration cannot be used; the former one stays in force");
    }
  };
  const check = (): Promise<void> => {
    checking ??= reload().finally(() => {
      checking = undefined;
    });
    return checking;
  };
  const schedule = (): void => {
    cancel = clock.after(intervalMs, () => {
      void check().finally(() => {
        if (!closed) schedule();
      });
    });
  };
  if (watched.size > 0) schedule();
  return {
    status: () => status,
    check,
    close() {
      closed = true;
      cancel();
    },
  };
}

/** Differs whenever the file is written, replaced, removed or comes back. */
function markOf(file: string): string {
  try {
    const { ino, mtimeNs, size } = statSync(file, { bigint: true });
    return `${ino}:${mtimeNs}:${size}`;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "unreadable";
  }
}
