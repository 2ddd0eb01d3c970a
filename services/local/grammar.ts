import { invalid, unsupported } from "@weir/dialect/faults";
import { type JsonObject, parseObject } from "@weir/dialect/json";
import type { OutputFormat } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type GbnfJsonObjectSchema, type Llama, LlamaGrammarEvaluationState, type LlamaModel } from "node-llama-cpp";
import { grammarSchema } from "./schema.ts";

/** What keeps one reply to its form. */
export interface ReplyGrammar {
  readonly state: LlamaGrammarEvaluationState;
  /** Texts after which the form is complete; no part of the reply. */
  readonly stops: readonly string[];
}

const schemaLengthMax = 65_536;
const param = "output_format.json_schema.schema";

/**
 * The grammar of a reply's form; undefined for plain text.
 * @throws WeirError INVALID_REQUEST for a schema that is none, TARGET_UNSUPPORTED for one that no grammar can follow
 */
export async function createGrammar(
  llama: Llama,
  model: LlamaModel,
  format: OutputFormat | undefined,
): Promise<ReplyGrammar | undefined> {
  const schema = schemaOf(format);
  if (schema === undefined) return undefined;
  try {
    // The words are the grammar's own; its type tells them apart by more than they are known by here.
    const grammar = await llama.createGrammarForJsonSchema(schema as unknown as GbnfJsonObjectSchema);
    return {
      state: new LlamaGrammarEvaluationState({ model, grammar }),
      stops: grammar.stopGenerationTriggers.map(String).filter((text) => text !== ""),
    };
  } catch (cause) {
    const text = "A local model cannot be held to this JSON schema.";
    throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param }, cause });
  }
}

/** The schema of a form in the words of the grammar; undefined for plain text. */
function schemaOf(format: OutputFormat | undefined): JsonObject | undefined {
  switch (format?.kind.case) {
    case "json":
      return grammarSchema({ type: "object" });
    case "jsonSchema": {
      const { schema } = format.kind.value;
      if (schema.length > schemaLengthMax) throw unsupported("The JSON schema is too long for a local model.", param);
      const json = parseObject(schema);
      if (json === undefined) throw invalid("The JSON schema is no object.", param);
      return grammarSchema(json);
    }
    default:
      return undefined;
  }
}
