import { invalid, unsupported } from "@weir/dialect/faults";
import { parseObject } from "@weir/dialect/json";
import type { OutputFormat } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import {
  type GbnfJsonObjectSchema,
  type Llama,
  type LlamaGrammar,
  LlamaGrammarEvaluationState,
  type LlamaModel,
} from "node-llama-cpp";
import { grammarSchema } from "./schema.ts";

/** What keeps one reply to its form. */
export interface ReplyGrammar {
  readonly state: LlamaGrammarEvaluationState;
  /** Texts after which the form is complete; no part of the reply. */
  readonly stops: readonly string[];
}

const schemaLengthMax = 65_536;

/**
 * The grammar of a reply's form; undefined for plain text.
 * @throws WeirError INVALID_REQUEST for a schema that is none, TARGET_UNSUPPORTED for one that no grammar can follow
 */
export async function createGrammar(
  llama: Llama,
  model: LlamaModel,
  format: OutputFormat | undefined,
): Promise<ReplyGrammar | undefined> {
  const grammar = await grammarOf(llama, format);
  if (grammar === undefined) return undefined;
  return {
    state: new LlamaGrammarEvaluationState({ model, grammar }),
    stops: grammar.stopGenerationTriggers.map(String).filter((text) => text !== ""),
  };
}

async function grammarOf(llama: Llama, format: OutputFormat | undefined): Promise<LlamaGrammar | undefined> {
  switch (format?.kind.case) {
    case "json":
      return llama.createGrammarForJsonSchema({ type: "object", additionalProperties: true });
    case "jsonSchema": {
      const { schema } = format.kind.value;
      const param = "output_format.json_schema.schema";
      if (schema.length > schemaLengthMax) throw unsupported("The JSON schema is too long for a local model.", param);
      const json = parseObject(schema);
      if (json === undefined) throw invalid("The JSON schema is no object.", param);
      const words = grammarSchema(json) as unknown as GbnfJsonObjectSchema;
      try {
        return await llama.createGrammarForJsonSchema(words);
      } catch (cause) {
        throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
          text: "A local model cannot be held to this JSON schema.",
          metadata: { param },
          cause,
        });
      }
    }
    default:
      return undefined;
  }
}
