import { availableParallelism, totalmem } from "node:os";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { LocalConfig } from "@weir/gen/weir/config/v1/provider_pb";

/** How the models of one provider are run. */
export interface LocalSettings {
  /** By the name that requests call the model by: absolute path of its GGUF file. */
  readonly files: ReadonlyMap<string, string>;
  /** Tokens of prompt and reply that one request may have; at most what the model was trained on. */
  readonly contextTokens: number;
  /** Requests that one model answers at once. */
  readonly sequences: number;
  readonly queueMax: number;
  /** Longest wait for a place, loading of the model included, in milliseconds. */
  readonly waitMs: number;
  readonly threads: number;
  readonly modelsMax: number;
  readonly memoryBytesMax: number;
}

/** Reads a provider's section; the defaults are those that provider.proto names. */
export function settingsOf(config: LocalConfig): LocalSettings {
  return {
    files: new Map(Object.entries(config.files)),
    contextTokens: config.contextTokens ?? 4_096,
    sequences: config.sequences ?? 4,
    queueMax: config.queueMax ?? 64,
    waitMs: config.wait === undefined ? 60_000 : durationMs(config.wait),
    // One core is left for the event loop.
    threads: config.threads ?? Math.max(1, availableParallelism() - 1),
    modelsMax: config.modelsMax ?? 1,
    memoryBytesMax: config.memoryBytesMax === undefined ? totalmem() * 0.75 : Number(config.memoryBytesMax),
  };
}
