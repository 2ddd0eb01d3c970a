import type { OutputFormat } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import {
  type ChatHistoryItem,
  type ChatWrapper,
  JinjaTemplateChatWrapper,
  type Llama,
  type LlamaContext,
  type LlamaContextSequence,
  type LlamaEmbeddingContext,
  type LlamaModel,
  type LlamaText,
  resolveChatWrapper,
  type SequenceEvaluateOptions,
  type Token,
} from "node-llama-cpp";
import { createGrammar, type ReplyGrammar } from "./grammar.ts";
import type { ModelFile } from "./llama.ts";
import { createTokenText, type TokenText } from "./token-text.ts";

/** A prompt as the model reads it. */
export interface Prompt {
  readonly tokens: readonly Token[];
  /** Texts that end a turn of this model's. */
  readonly stops: readonly string[];
}

/** One message of a conversation. */
export interface Turn {
  readonly role: "system" | "user" | "model";
  readonly text: string;
}

/** How the next token is chosen. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  /** 0: all. */
  readonly topK: number;
  readonly minP: number;
  readonly seed: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
}

/** A token that was generated. */
export interface Generated {
  readonly token: Token;
  /** Whether the model ended its turn with it. */
  readonly last: boolean;
}

export interface Embedding {
  /** Of length 1. */
  readonly vector: readonly number[];
  /** With the tokens that the model puts around a text. */
  readonly inputTokens: number;
}

/** A model in memory. */
export interface LoadedModel {
  /** Tokens of one request, prompt and reply. */
  readonly contextTokens: number;
  /** Length of an embedding. */
  readonly width: number;
  /**
   * The conversation in the words of the model's own template, up to where its reply begins.
   * @throws WeirError INVALID_REQUEST when the template takes no such conversation
   */
  prompt(turns: readonly Turn[]): Prompt;
  /** Tokens of a plain text. */
  tokenize(text: string): readonly Token[];
  tokenText(): TokenText;
  /** @throws WeirError as {@link createGrammar} */
  grammar(format: OutputFormat | undefined): Promise<ReplyGrammar | undefined>;
  /**
   * Continues a prompt, token by token, until the model ends its turn; whoever reads decides whether it goes on so long. At most
   * as many run at once as the model has sequences.
   * @throws CallCancelled within one batch of the prompt, or one token of the reply, after `signal` fired
   */
  generate(
    tokens: readonly Token[],
    sampling: Sampling,
    grammar: ReplyGrammar | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Generated>;
  /** The embedding of a text. Texts are computed one after another. */
  embed(tokens: readonly Token[]): Promise<Embedding>;
  unload(): Promise<void>;
}

/** Tokens of the reply that penalties look back on. */
const penaltyTokens = 256;

/** @throws Error when the file is damaged, of an unknown architecture, or does not fit into memory */
export async function loadModel(
  llama: Llama,
  file: ModelFile,
  { sequences, threads }: { readonly sequences: number; readonly threads: number },
): Promise<LoadedModel> {
  const model = await llama.loadModel({ modelPath: file.path });
  let context: LlamaContext;
  try {
    context = await model.createContext({ contextSize: file.contextTokens, sequences, threads });
  } catch (error) {
    await model.dispose();
    throw error;
  }
  const wrapper = wrapperOf(model);
  const free: LlamaContextSequence[] = Array.from({ length: sequences }, () => context.getSequence());
  let embedding: Promise<LlamaEmbeddingContext> | undefined;

  function render(chatHistory: readonly ChatHistoryItem[]) {
    try {
      return wrapper.generateContextState({ chatHistory });
    } catch (cause) {
      // Templates refuse by an error: roles that do not take turns, a system message that is not the first.
      const text = "The chat template of this model takes no conversation of this form.";
      throw new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param: "messages" }, cause });
    }
  }

  function embeddingContext(): Promise<LlamaEmbeddingContext> {
    embedding ??= model.createEmbeddingContext({ contextSize: file.contextTokens, threads });
    // Whoever waits is told; the next one tries again.
    embedding.catch(() => (embedding = undefined));
    return embedding;
  }

  return {
    contextTokens: Math.min(file.contextTokens, context.contextSize),
    width: model.embeddingVectorSize,

    prompt(turns) {
      const { contextText, stopGenerationTriggers } = render([...turns.map(itemOf), { type: "model", response: [] }]);
      return {
        tokens: contextText.tokenize(model.tokenizer),
        stops: stopGenerationTriggers.flatMap((trigger) => plainText(trigger)),
      };
    },

    tokenize: (text) => model.tokenize(text),
    tokenText: () => createTokenText((tokens, special, before) => model.detokenize(tokens, special, before)),
    grammar: (format) => createGrammar(llama, model, format),

    async *generate(tokens, sampling, grammar, signal) {
      const sequence = free.pop();
      if (sequence === undefined) throw new Error("more calls than sequences");
      try {
        const body = tokens.slice(0, -1);
        for (let at = 0; at < body.length; at += context.batchSize) {
          if (signal.aborted) throw new CallCancelled();
          await sequence.evaluateWithoutGeneratingNewTokens(body.slice(at, at + context.batchSize));
        }
        if (signal.aborted) throw new CallCancelled();
        const reply: Token[] = [];
        for await (const token of sequence.evaluate(tokens.slice(-1), evaluation(sampling, grammar, reply))) {
          if (signal.aborted) throw new CallCancelled();
          reply.push(token);
          const last = model.isEogToken(token);
          yield { token, last };
          if (last) return;
        }
      } finally {
        await sequence.clearHistory();
        free.push(sequence);
      }
    },

    async embed(tokens) {
      const embeddings = await embeddingContext();
      const { vector } = await embeddings.getEmbeddingFor([...tokens]);
      const length = Math.hypot(...vector);
      return {
        vector: vector.map((value) => (length === 0 ? value : value / length)),
        inputTokens: embeddings.calculateInputLength([...tokens]),
      };
    },

    async unload() {
      // One that did not come about holds nothing.
      const embeddings = await embedding?.catch(() => undefined);
      await embeddings?.dispose();
      await context.dispose();
      await model.dispose();
    },
  };
}

/** The template of the model's file; one that suits its kind where it has none, or none that can be used. */
function wrapperOf(model: LlamaModel): ChatWrapper {
  const template = model.fileInfo.metadata.tokenizer.chat_template;
  // Looking for one takes up to a second of the event loop, so that it is the second choice.
  if (template === undefined) return resolveChatWrapper(model);
  try {
    return new JinjaTemplateChatWrapper({ template, tokenizer: model.tokenizer });
  } catch {
    // A template that cannot be read is as none.
    return resolveChatWrapper(model);
  }
}

function evaluation(
  { temperature, topP, topK, minP, seed, presencePenalty, frequencyPenalty }: Sampling,
  grammar: ReplyGrammar | undefined,
  reply: readonly Token[],
): SequenceEvaluateOptions {
  const penalized = presencePenalty !== 0 || frequencyPenalty !== 0;
  return {
    temperature,
    topP,
    topK,
    minP,
    seed,
    yieldEogToken: true,
    ...(grammar === undefined ? {} : { grammarEvaluationState: grammar.state }),
    ...(penalized && {
      repeatPenalty: {
        punishTokens: () => reply.slice(-penaltyTokens),
        maxPunishTokens: penaltyTokens,
        penalty: 1,
        presencePenalty,
        frequencyPenalty,
      },
    }),
  };
}

function itemOf({ role, text }: Turn): ChatHistoryItem {
  return role === "model" ? { type: role, response: [text] } : { type: role, text };
}

/** A trigger that is text and nothing else; special tokens end the turn by themselves. */
function plainText(trigger: LlamaText): string[] {
  const [value] = trigger.values;
  return trigger.values.length === 1 && typeof value === "string" && value !== "" ? [value] : [];
}
