import type { SamplingOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { warning } from "../events.ts";
import type { JsonObject } from "../json.ts";

// What a model refuses while it thinks, adaptively too; the same on Bedrock:
// https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility

/** `thinking` of a request whose tool choice may force a call: the demand stands, and the thinking is left out. */
export function thinkingBesideChoice(
  thinking: JsonObject | undefined,
  isForced: boolean,
  warnings: Warning[],
): JsonObject | undefined {
  if (!isForced || !isThinking(thinking)) return thinking;
  warnings.push(warning("field_dropped", "reasoning", "The model cannot think when it must call a tool."));
  return undefined;
}

const topPMin = 0.95;

/** The sampling that is left beside `thinking`: no temperature but 1, no `top_k`, no `top_p` below 0.95. */
export function samplingBesideThinking(
  sampling: SamplingOptions | undefined,
  thinking: JsonObject | undefined,
  warnings: Warning[],
): SamplingOptions | undefined {
  if (sampling === undefined || !isThinking(thinking)) return sampling;
  const { temperature, topK, topP, ...others } = sampling;
  const left: SamplingOptions = others;
  const leaveOut = (name: string) => {
    warnings.push(warning("field_dropped", `sampling.${name}`, "The model takes no such value while it thinks."));
  };
  if (temperature === 1) left.temperature = temperature;
  else if (temperature !== undefined) leaveOut("temperature");
  if (topP !== undefined && topP >= topPMin) left.topP = topP;
  else if (topP !== undefined) leaveOut("top_p");
  if (topK !== undefined) leaveOut("top_k");
  return left;
}

function isThinking(thinking: JsonObject | undefined): boolean {
  return thinking?.["type"] === "enabled" || thinking?.["type"] === "adaptive";
}
