import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { LocalConfig } from "@weir/gen/weir/config/v1/provider_pb";
import type { Clock } from "@weir/kit/clock";
import { ConfigError, type ConfigFault, pathOf } from "@weir/kit/config/fault";
import type { ModelServer, StartModelServer } from "@weir/kit/model-server";
import type { Llama } from "node-llama-cpp";
import { createEngine, type Engine } from "./engine.ts";
import { type ModelFile, readModelFile, startLlama } from "./llama.ts";
import { startListener } from "./server.ts";
import { type LocalSettings, settingsOf } from "./settings.ts";

/** What a provider shall be. */
interface Plan {
  readonly settings: LocalSettings;
  readonly files: ReadonlyMap<string, ModelFile>;
}

interface Running extends Plan {
  readonly engine: Engine;
}

/** Starts a server of models on a loopback port. */
export const startModelServer: StartModelServer = async ({ clock, log }): Promise<ModelServer> => {
  const llama = await startLlama(log);
  const token = randomBytes(32).toString("base64url");
  let running: ReadonlyMap<string, Running> = new Map();
  /** Engines that are going. */
  const leaving = new Set<Engine>();
  const listener = await startListener({ token, engineOf: (id) => running.get(id)?.engine, clock, log });

  function retire(engine: Engine): void {
    leaving.add(engine);
    void engine.retire().finally(() => leaving.delete(engine));
  }

  return {
    token,
    baseUrl: (provider) => `${listener.origin}/${provider}/v1`,

    async prepare(providers) {
      const plans = await readPlans(llama, providers);
      return () => {
        const before = running;
        running = new Map(
          [...plans].map(([id, plan]): [string, Running] => {
            const known = before.get(id);
            if (known !== undefined && isDeepStrictEqual(planOf(known), plan)) return [id, known];
            return [id, { ...plan, engine: createEngine({ ...plan, llama, clock, log }) }];
          }),
        );
        const kept = new Set([...running.values()].map(({ engine }) => engine));
        for (const { engine } of before.values()) if (!kept.has(engine)) retire(engine);
      };
    },

    async close() {
      const engines = [...[...running.values()].map(({ engine }) => engine), ...leaving];
      running = new Map();
      await listener.close();
      await atMost(closeMs, clock, async () => {
        await Promise.all(engines.map((engine) => engine.close()));
        await llama.dispose();
      });
    },
  };
};

/**
 * A batch of a long prompt is not interrupted, and a model that could not be loaded is held by llama.cpp's binding until it is
 * garbage: what is left then goes with the process.
 */
const closeMs = 3_000;

async function atMost(ms: number, clock: Clock, work: () => Promise<void>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const stopTimer = clock.after(ms, resolve);
  await Promise.race([work(), late]);
  stopTimer();
}

function planOf({ settings, files }: Running): Plan {
  return { settings, files };
}

/** @throws ConfigError with a fault for each file that cannot be used */
async function readPlans(
  llama: Llama,
  providers: ReadonlyMap<string, LocalConfig>,
): Promise<ReadonlyMap<string, Plan>> {
  const plans = new Map<string, Plan>();
  const faults: ConfigFault[] = [];
  for (const [id, config] of providers) {
    const settings = settingsOf(config);
    const files = new Map<string, ModelFile>();
    for (const [name, path] of settings.files) {
      const at = pathOf(`${pathOf("providers", id)}.local.files`, name);
      try {
        if (!statSync(path).isFile()) throw Object.assign(new Error("no file"), { code: "EISDIR" });
        const file = await readModelFile(llama, path, settings);
        if (file.bytes > settings.memoryBytesMax) {
          faults.push({ path: at, text: `needs ${file.bytes} bytes of memory, more than memory_bytes_max` });
        }
        files.set(name, file);
      } catch (thrown) {
        faults.push({ path: at, text: describe(thrown) });
      }
    }
    plans.set(id, { settings, files });
  }
  if (faults.length > 0) throw new ConfigError("weir.yaml", faults);
  return plans;
}

function describe(thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;
  return code === undefined ? "is not a GGUF file, or a damaged one" : `cannot be read (${code})`;
}
