import { setImmediate } from "node:timers/promises";
import type { EmbeddingRequest } from "@weir/dialect/embeddings/embedding";
import { invalid, unsupported } from "@weir/dialect/faults";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { Llama, Token } from "node-llama-cpp";
import type { ModelFile } from "./llama.ts";
import { type Embedding, type LoadedModel, loadModel } from "./loaded-model.ts";
import { createModelQueue } from "./model-queue.ts";
import { promptOf, refuseEndless, reply, type ReplyFacts } from "./reply.ts";
import type { LocalSettings } from "./settings.ts";

export interface EngineOptions {
  readonly llama: Llama;
  readonly settings: LocalSettings;
  /** What the files of the settings say, by the model's name. */
  readonly files: ReadonlyMap<string, ModelFile>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The models of one provider. Every call waits for its place first, and all fail with WeirError MODEL_NOT_FOUND, OVERLOADED,
 * PROVIDER_UNAVAILABLE when the model cannot be loaded, CONTEXT_TOO_LONG, INVALID_REQUEST or TARGET_UNSUPPORTED, and with
 * CallCancelled after their signal fired.
 */
export interface Engine {
  readonly models: readonly string[];
  /** Names of the models in memory. */
  loaded(): readonly string[];
  generate(request: GenerateRequest, facts: ReplyFacts, signal: AbortSignal): AsyncGenerator<GenerateEvent>;
  /** Tokens of a request's prompt, exactly. */
  countTokens(request: GenerateRequest, signal: AbortSignal): Promise<number>;
  /** In the order of the inputs. */
  embed(model: string, request: EmbeddingRequest, signal: AbortSignal): Promise<readonly Embedding[]>;
  /** Turns away who waits, lets end who runs, and gives the memory back. */
  retire(): Promise<void>;
  /** As retire, but that it cancels who runs. */
  close(): Promise<void>;
}

export function createEngine({ llama, settings, files, clock, log }: EngineOptions): Engine {
  const closing = new AbortController();

  async function load(name: string): Promise<LoadedModel> {
    const startMs = clock.monotonic();
    try {
      const model = await loadModel(llama, knownFile(name), settings);
      log.info({ model: name, load_ms: Math.round(clock.monotonic() - startMs) }, "a local model is in memory");
      return model;
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "unknown";
      log.error({ model: name, why, error: cause }, "a local model cannot be loaded");
      throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, { text: "The local model cannot be loaded.", cause });
    }
  }

  function knownFile(name: string): ModelFile {
    const file = files.get(name);
    if (file === undefined) throw new WeirError(ErrorReason.MODEL_NOT_FOUND);
    return file;
  }

  const queue = createModelQueue<LoadedModel>({
    load,
    unload: (model) => model.unload(),
    bytesOf: (name) => knownFile(name).bytes,
    placesMax: settings.sequences,
    modelsMax: settings.modelsMax,
    memoryBytesMax: settings.memoryBytesMax,
    queueMax: settings.queueMax,
    waitMs: settings.waitMs,
    clock,
  });

  async function within<T>(
    name: string,
    parent: AbortSignal,
    work: (model: LoadedModel, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    knownFile(name);
    const signal = AbortSignal.any([parent, closing.signal]);
    const place = await queue.enter(name, signal);
    try {
      return await work(place.model, signal);
    } finally {
      place.release();
    }
  }

  return {
    models: [...files.keys()],
    loaded: () => queue.loaded(),

    async *generate(request, facts, parent) {
      knownFile(request.model);
      const signal = AbortSignal.any([parent, closing.signal]);
      const place = await queue.enter(request.model, signal);
      try {
        yield* reply(place.model, request, facts, signal);
      } finally {
        place.release();
      }
    },

    countTokens: (request, signal) =>
      within(request.model, signal, async (model) => promptOf(model, request).tokens.length),

    embed: (name, request, parent) =>
      within(name, parent, async (model, signal) => {
        const inputs: (readonly Token[])[] = [];
        for (const { content, dimensions } of request.inputs) {
          // Others' work goes on between two texts, of which there may be thousands.
          await setImmediate();
          if (signal.aborted) throw new CallCancelled();
          if (typeof content !== "string") throw unsupported("Local models embed texts, not tokens.", "inputs");
          if (dimensions !== undefined && dimensions !== model.width) {
            throw unsupported(`Vectors of this model have ${model.width} numbers.`, "dimensions");
          }
          refuseEndless(content.length, model.contextTokens);
          const tokens = model.tokenize(content);
          if (tokens.length === 0) throw invalid("`input` must not be empty.", "input");
          // The model puts a token before the text and one after it.
          if (tokens.length + 2 > model.contextTokens) throw new WeirError(ErrorReason.CONTEXT_TOO_LONG);
          inputs.push(tokens);
        }
        const embeddings: Embedding[] = [];
        for (const tokens of inputs) {
          if (signal.aborted) throw new CallCancelled();
          embeddings.push(await model.embed(tokens));
        }
        return embeddings;
      }),

    retire: () => queue.close(),
    async close() {
      closing.abort();
      await queue.close();
    },
  };
}
