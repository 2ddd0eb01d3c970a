import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Log } from "@weir/kit/log";
import { getLlama, GgufInsights, type Llama, LlamaLogLevel, readGgufFileInfo } from "node-llama-cpp";

/** What a model needs and can, as its file says. */
export interface ModelFile {
  readonly path: string;
  /** When the file was last written, in milliseconds since 1970. */
  readonly writeTimeMs: number;
  /** Tokens of one request, prompt and reply. */
  readonly contextTokens: number;
  /** Estimated memory of the model and its context, in bytes. */
  readonly bytes: number;
}

/**
 * Loads llama.cpp, from a build that is installed: nothing is compiled or downloaded.
 * @throws Error when there is no build for this machine
 */
export async function startLlama(log: Log): Promise<Llama> {
  return getLlama({
    gpu: "auto",
    build: "never",
    skipDownload: true,
    progressLogs: false,
    // The default is four threads at least; on fewer cores they wait for each other in loops.
    maxThreads: availableParallelism(),
    logLevel: LlamaLogLevel.error,
    logger: (_level, message) => log.warn({ line: message.trim() }, "a word of llama.cpp"),
  });
}

/**
 * Reads the head of a GGUF file.
 * @throws Error when it is none, or cannot be read
 */
export async function readModelFile(
  llama: Llama,
  path: string,
  { contextTokens, sequences }: { readonly contextTokens: number; readonly sequences: number },
): Promise<ModelFile> {
  const info = await readGgufFileInfo(path, { sourceType: "filesystem", logWarnings: false });
  const insights = await GgufInsights.from(info, llama);
  const { mtimeMs, size: fileBytes } = await stat(path);
  // Reading past the end gives zeros rather than an error. Of a model in several files only the first is looked at here.
  const headBytes = info.infoEndOffset ?? info.metadataSize;
  if (fileBytes < headBytes + (info.splicedParts > 1 ? 0 : insights.modelSize))
    throw new Error("the file is cut short");
  const size = Math.min(contextTokens, insights.trainContextSize ?? contextTokens);
  const model = await insights.estimateModelResourceRequirementsV2({ gpuLayers: 0 });
  const context = await insights.estimateContextResourceRequirementsV2({
    contextSize: size,
    modelGpuLayers: 0,
    sequences,
  });
  return { path, writeTimeMs: mtimeMs, contextTokens: size, bytes: model.cpuRam + context.cpuRam };
}
