import { create } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Envelope, RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { readFlag, readNumber, readText, readWhole, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { createOmissions } from "../omissions.ts";
import { outputTokensMax, readModel, readUser } from "../openai-completions/envelope.ts";
import { readExtensions, writeExtensions } from "../openai-completions/extensions.ts";
import { keepPlain } from "../openai-completions/plain.ts";
import { promptMessages, writePrompt } from "../openai-completions/prompt.ts";
import { readStops } from "../openai-completions/request-reader.ts";

/** The key of this dialect in `GenerateRequest.extensions`, and its name in warnings. */
export const dialectName = "weir-generate";

/** All members of a request; others are extensions. */
const bodyMembers: ReadonlySet<string> = new Set([
  "model",
  "prompt",
  "max_length",
  "temperature",
  "top_p",
  "stop",
  "stream",
  "user",
]);

/** Where a field of the canonical request stands in this dialect. */
export const params: Readonly<Record<string, string>> = {
  model: "model",
  messages: "prompt",
  max_output_tokens: "max_length",
  "sampling.temperature": "temperature",
  "sampling.top_p": "top_p",
  stop_sequences: "stop",
  user: "user",
};

/** Reads what limits and routing need. @throws WeirError INVALID_REQUEST with `param` */
export function readEnvelope(body: JsonObject): Envelope {
  readPrompt(body);
  const maxOutputTokens = readMaxLength(body);
  const user = readUser(body);
  return {
    model: readModel(body),
    stream: readFlag(body["stream"], "stream") ?? false,
    includeUsage: true,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    choiceCount: 1,
    ...(user === "" ? {} : { user }),
  };
}

/** Reads a whole request. @throws WeirError INVALID_REQUEST with `param` */
export function readRequest(body: JsonObject): GenerateRequest {
  const temperature = readNumber(body["temperature"], "temperature", 0, 2);
  const topP = readNumber(body["top_p"], "top_p", 0, 1);
  return create(GenerateRequestSchema, {
    model: readModel(body),
    messages: promptMessages(readPrompt(body)),
    maxOutputTokens: readMaxLength(body),
    sampling: temperature === undefined && topP === undefined ? undefined : { temperature, topP },
    stopSequences: readStops(body["stop"]),
    user: readUser(body),
    extensions: readExtensions(body, bodyMembers, dialectName),
  });
}

function readPrompt(body: JsonObject): string {
  return required(readText(body["prompt"], "prompt"), "prompt");
}

/** The longest text, in tokens. */
function readMaxLength(body: JsonObject): number | undefined {
  return readWhole(body["max_length"], "max_length", 1, outputTokensMax);
}

/** Writes a request. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: GenerateRequest, { model, stream }: RequestOptions): RequestWriting {
  const omissions = createOmissions(dialectName);
  keepPlain(request, omissions);
  const { choiceCount = 1, topLogprobs, sampling, stopSequences, user } = request;
  if (choiceCount > 1) throw unsupported("This target writes one text.", "choice_count");
  if (topLogprobs !== undefined) throw unsupported("This target reports no probabilities.", "top_logprobs");
  omissions.drop("sampling.presence_penalty", sampling?.presencePenalty !== undefined);
  omissions.drop("sampling.frequency_penalty", sampling?.frequencyPenalty !== undefined);
  omissions.drop("sampling.seed", sampling?.seed !== undefined);
  omissions.drop("sampling.logit_bias", Object.keys(sampling?.logitBias ?? {}).length > 0);
  const members: JsonObject = {
    model,
    prompt: writePrompt(request.messages, omissions),
    stream: stream ? true : undefined,
    max_length: request.maxOutputTokens,
    temperature: sampling?.temperature,
    top_p: sampling?.topP,
    stop: stopSequences.length === 0 ? undefined : stopSequences,
    user: user === "" ? undefined : user,
    ...writeExtensions(request.extensions, bodyMembers, dialectName, omissions),
  };
  return {
    body: Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)),
    warnings: omissions.warnings,
  };
}
