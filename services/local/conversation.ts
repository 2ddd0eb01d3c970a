import { randomInt } from "node:crypto";
import { unsupported } from "@weir/dialect/faults";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type Message, type Part, Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Sampling, Turn } from "./loaded-model.ts";

/**
 * The conversation of a request, as chat templates know it.
 * @throws WeirError TARGET_UNSUPPORTED for what is more than text, and for wishes that are not fulfilled
 */
export function turnsOf(request: GenerateRequest): readonly Turn[] {
  const { tools, toolChoice, choiceCount, topLogprobs, modalities, audio, sampling } = request;
  if (tools.length > 0 && toolChoice?.mode !== ToolChoice_Mode.NONE)
    throw unsupported("Local models call no tools.", "tools");
  if ((choiceCount ?? 1) > 1) throw unsupported("Local models give one choice.", "choice_count");
  if (topLogprobs !== undefined) throw unsupported("Local models give no log probabilities.", "top_logprobs");
  if (audio !== undefined || modalities.some((modality) => modality !== "text")) {
    throw unsupported("Local models answer with text.", "modalities");
  }
  if (Object.keys(sampling?.logitBias ?? {}).length > 0) {
    throw unsupported("Local models take no bias for tokens.", "sampling.logit_bias");
  }
  return request.messages.map(turnOf);
}

function turnOf(message: Message): Turn {
  const text = message.parts.map(textOf).join("");
  switch (message.role) {
    case Role.SYSTEM:
    case Role.DEVELOPER:
      return { role: "system", text };
    case Role.ASSISTANT:
      return { role: "model", text };
    case Role.TOOL:
      throw unsupported("Local models call no tools, and read no results of any.", "messages");
    default:
      return { role: "user", text };
  }
}

function textOf({ content }: Part): string {
  switch (content.case) {
    case "text":
    case "refusal":
      return content.value.text;
    // What a model thought before is not told again, as templates have it.
    case "reasoning":
      return "";
    case "toolCall":
    case "toolResult":
      throw unsupported("Local models call no tools, and read no results of any.", "messages");
    default:
      throw unsupported("Local models read text and nothing else.", "messages");
  }
}

/** How tokens are chosen: as the request says, else by the defaults of llama.cpp. */
export function samplingOf({ sampling }: GenerateRequest): Sampling {
  return {
    temperature: sampling?.temperature ?? 0.8,
    topP: sampling?.topP ?? 0.95,
    topK: sampling?.topK ?? 40,
    minP: sampling?.minP ?? 0.05,
    seed: sampling?.seed === undefined ? randomInt(2 ** 32) : Number(BigInt.asUintN(32, sampling.seed)),
    presencePenalty: sampling?.presencePenalty ?? 0,
    frequencyPenalty: sampling?.frequencyPenalty ?? 0,
  };
}
