import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { SamplingOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { type JsonObject, rawJson } from "../json.ts";
import { createOmissions } from "../omissions.ts";
import { writeExtensions } from "./extensions.ts";
import { bodyMembers, dialectName } from "./members.ts";
import { keepPlain } from "./plain.ts";
import { writePrompt } from "./prompt.ts";

/** https://platform.openai.com/docs/api-reference/completions/create#completions-create-logprobs */
const logprobsMax = 5;

/** Members that no extension sets. What `best_of` makes beyond `n` is billed, and was reserved only for bodies that pass as they came. */
const governed: ReadonlySet<string> = new Set([...bodyMembers, "best_of"]);

/** Writes a request; a stream is asked to report its usage. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: GenerateRequest, { model, stream }: RequestOptions): RequestWriting {
  const omissions = createOmissions(dialectName);
  keepPlain(request, omissions);
  const { topLogprobs = 0, stopSequences, user } = request;
  if (topLogprobs > logprobsMax) {
    throw unsupported(`This target reports at most the ${logprobsMax} likeliest tokens.`, "top_logprobs");
  }
  const members: JsonObject = {
    model,
    prompt: writePrompt(request.messages, omissions),
    stream: stream ? true : undefined,
    stream_options: stream ? { include_usage: true } : undefined,
    max_tokens: request.maxOutputTokens,
    n: request.choiceCount,
    stop: stopSequences.length === 0 ? undefined : stopSequences,
    logprobs: request.topLogprobs,
    user: user === "" ? undefined : user,
    ...(request.sampling && writeSampling(request.sampling)),
    ...writeExtensions(request.extensions, governed, dialectName, omissions),
  };
  return {
    body: Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)),
    warnings: omissions.warnings,
  };
}

function writeSampling(sampling: SamplingOptions): JsonObject {
  return {
    temperature: sampling.temperature,
    top_p: sampling.topP,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    seed: sampling.seed === undefined ? undefined : rawJson(String(sampling.seed)),
    logit_bias: Object.keys(sampling.logitBias).length === 0 ? undefined : sampling.logitBias,
  };
}
