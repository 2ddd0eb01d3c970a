import type { MessageInitShape } from "@bufbuild/protobuf";
import { type SamplingOptions, ToolChoice_Mode, type ToolChoiceSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { isJsonObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { hasOnly, readCount } from "./members.ts";
import { isAnthropic, type Model } from "./model.ts";
import type { Remainder } from "./remainder.ts";
import { dropped } from "./warnings.ts";

// What Converse itself has no member for goes to the model as it is, under `additionalModelRequestFields`:
// https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
// https://docs.aws.amazon.com/nova/latest/nova2-userguide/core-inference.html

/** How tools may be called, in the words of Anthropic's models. */
interface ChoiceField {
  readonly parallelToolCalls: boolean;
  /** Absent: the model decides. */
  readonly toolChoice?: MessageInitShape<typeof ToolChoiceSchema>;
}

/** Takes `top_k` of Anthropic's models, or that of Nova's. */
export function takeTopK(fields: Remainder): number | undefined {
  return takeIf(fields, "top_k", readCount) ?? takeIf(fields, "inferenceConfig", readNovaTopK);
}

function readNovaTopK(value: unknown): number | undefined {
  return isJsonObject(value) && hasOnly(value, ["topK"]) ? readCount(value["topK"]) : undefined;
}

/** The member for `top_k`, where the model's is known. @param warnings gets what was left out */
export function writeTopK({ topK }: SamplingOptions, model: Model, warnings: Warning[]): JsonObject {
  if (topK === undefined) return {};
  if (model.family === "nova") return { inferenceConfig: { topK } };
  if (isAnthropic(model) && model.traits.sampling) return { top_k: topK };
  warnings.push(dropped("sampling.top_k"));
  return {};
}

/** Takes `tool_choice` when it says that calls shall come one by one, or need not. */
export function takeChoice(fields: Remainder): ChoiceField | undefined {
  return takeIf(fields, "tool_choice", readChoice);
}

function readChoice(value: unknown): ChoiceField | undefined {
  if (!isJsonObject(value) || !hasOnly(value, ["type", "name", "disable_parallel_tool_use"])) return undefined;
  const { type, name, disable_parallel_tool_use: oneByOne } = value;
  if (typeof oneByOne !== "boolean") return undefined;
  const parallelToolCalls = !oneByOne;
  if (type === "tool" && typeof name === "string" && name !== "") {
    return { parallelToolCalls, toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: [name] } };
  }
  if (name !== undefined) return undefined;
  if (type === "any") return { parallelToolCalls, toolChoice: { mode: ToolChoice_Mode.REQUIRED } };
  return type === "auto" ? { parallelToolCalls } : undefined;
}

/** Takes a member out when it can be read whole. */
export function takeIf<T>(members: Remainder, name: string, read: (value: unknown) => T | undefined): T | undefined {
  const reading = read(members.peek(name));
  if (reading !== undefined) members.take(name);
  return reading;
}
