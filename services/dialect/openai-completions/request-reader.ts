import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { SamplingOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import { readFlag, readList, readLong, readNumber, readObject, readText, readWhole, requiredText } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { outputTokensMax, readEnvelope, readModel, readUser } from "./envelope.ts";
import { readExtensions } from "./extensions.ts";
import { bodyMembers, dialectName } from "./members.ts";
import { promptMessages } from "./prompt.ts";

const stopsMax = 64;
const topLogprobsMax = 20;

/**
 * Reads a whole request of one prompt in text.
 * @throws WeirError INVALID_REQUEST with `param`; TARGET_UNSUPPORTED with `param` for what only a target of this dialect can be
 *   told: several prompts, tokens, a suffix, an echo
 */
export function readRequest(body: JsonObject): GenerateRequest {
  readEnvelope(body);
  if ((readText(body["suffix"], "suffix") ?? "") !== "") throw untold("suffix");
  if (readFlag(body["echo"], "echo") === true) throw untold("echo");
  return create(GenerateRequestSchema, {
    model: readModel(body),
    messages: promptMessages(readPrompt(body["prompt"])),
    maxOutputTokens: readWhole(body["max_tokens"], "max_tokens", 1, outputTokensMax),
    sampling: readSampling(body),
    stopSequences: readStops(body["stop"]),
    choiceCount: readWhole(body["n"], "n", 1, 128),
    topLogprobs: readWhole(body["logprobs"], "logprobs", 0, topLogprobsMax),
    user: readUser(body),
    extensions: readExtensions(body, bodyMembers, dialectName),
  });
}

function readPrompt(value: unknown): string {
  if (value == null) throw invalid("`prompt` is missing; send the text to complete.", "prompt");
  const [first, second]: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (typeof first === "string" && second === undefined) return first;
  throw untranslatable("Other providers take one prompt in text; send each prompt by itself, and no tokens.", "prompt");
}

function untold(param: "suffix" | "echo") {
  return untranslatable(`The model's provider knows no \`${param}\`; leave it out, or call another model.`, param);
}

function readSampling(body: JsonObject): MessageInitShape<typeof SamplingOptionsSchema> | undefined {
  const number = (name: string, min: number, max: number) => readNumber(body[name], name, min, max);
  const sampling = {
    temperature: number("temperature", 0, 2),
    topP: number("top_p", 0, 1),
    presencePenalty: number("presence_penalty", -2, 2),
    frequencyPenalty: number("frequency_penalty", -2, 2),
    seed: readLong(body["seed"], "seed"),
  };
  const logitBias = readLogitBias(body["logit_bias"]);
  const given = Object.values(sampling).some((value) => value !== undefined) || Object.keys(logitBias).length > 0;
  return given ? { ...sampling, logitBias } : undefined;
}

function readLogitBias(value: unknown): Record<number, number> {
  const bias: Record<number, number> = {};
  for (const [token, added] of Object.entries(readObject(value, "logit_bias") ?? {})) {
    if (!/^\d{1,10}$/.test(token) || Number(token) > 0xffff_ffff) {
      throw invalid("`logit_bias` must have token ids as names.", "logit_bias");
    }
    bias[Number(token)] = readNumber(added, "logit_bias", -100, 100) ?? 0;
  }
  return bias;
}

/** Texts at which the model stops: one, or a list. */
export function readStops(value: unknown): string[] {
  const stops = typeof value === "string" ? [value] : (readList(value, "stop") ?? []);
  if (stops.length > stopsMax) throw invalid(`\`stop\` must hold at most ${stopsMax} texts.`, "stop");
  return stops.map((stop, index) => requiredText(stop, `stop[${index}]`));
}
