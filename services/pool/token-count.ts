import { countTokensBody, readTokenCount } from "@weir/dialect/anthropic-messages/count-tokens";
import type { Codec } from "@weir/dialect/codec";
import { readCountTokensAnswer } from "@weir/dialect/gemini/count-tokens";
import { type JsonObject, parseExact, parseObject, writeJson } from "@weir/dialect/json";
import { estimateInputTokens } from "@weir/dialect/wire-request";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { Dispatcher } from "undici";
import { codecOf } from "./codecs.ts";
import { judgeStatus, nameError, rejected } from "./classify.ts";
import { joinHeaders } from "./join-headers.ts";
import type { ProviderSettings } from "./provider-set.ts";
import type { Endpoint } from "./providers/endpoints.ts";
import type { Keys } from "./providers/key-use.ts";
import { prepareCall, type UpstreamCall } from "./upstream.ts";

/** How long an input is. */
export interface TokenCount {
  readonly inputTokens: number;
  /** Whether it was guessed by the length of the text. */
  readonly estimated: boolean;
}

export interface TokenCountDeps {
  readonly dispatcherOf: (origin: string) => Dispatcher;
  readonly keys: Pick<Keys, "use">;
  readonly nowMs: () => number;
  /** Takes a place under the limit of the provider's calls. @throws WeirError OVERLOADED, also when the wait is over */
  readonly enter: (waitMs: number) => Promise<void> | undefined;
  readonly leave: () => void;
  /** Fires when nobody waits for the count any more. */
  readonly signal: AbortSignal;
}

/** How long a provider may take; who asks waits for the count to decide on something else. */
const timeoutMs = 5_000;
const answerBytesMax = 65_536;

/** How a dialect's vendor counts. */
interface Counter {
  path(generatePath: string): string;
  body(generateBody: JsonObject, model: string, path: string): JsonObject;
  read(answer: JsonObject): number | undefined;
}

const counters: Readonly<Partial<Record<Dialect, Counter>>> = {
  // https://platform.claude.com/docs/en/api/messages-count-tokens
  [Dialect.ANTHROPIC_MESSAGES]: {
    path: (path) => path.replace(/(?=\?|$)/, "/count_tokens"),
    body: countTokensBody,
    read: readTokenCount,
  },
  // https://ai.google.dev/api/tokens; Vertex takes the members themselves.
  [Dialect.GEMINI]: {
    path: (path) =>
      path.replace(/:(?:streamGenerateContent\?alt=sse(&|$)|generateContent)/, (_, more) =>
        more === "&" ? ":countTokens?" : ":countTokens",
      ),
    body: (body, model, path) =>
      path.includes("/publishers/")
        ? body
        : { generateContentRequest: { model: model.includes("/") ? model : `models/${model}`, ...body } },
    read: readCountTokensAnswer,
  },
};

/** A server of local models counts the body of a chat; its answer has Anthropic's member. */
const besideChat: Counter = {
  path: (path) => `${path}/input_tokens`,
  body: (body) => body,
  read: readTokenCount,
};

function counterOf({ dialect, countsInputTokens }: Endpoint): Counter | undefined {
  return counters[dialect] ?? (countsInputTokens === true ? besideChat : undefined);
}

/**
 * Counts the input of a request for one target: by its vendor where that can count, else by a guess.
 * @throws WeirError INVALID_REQUEST, TARGET_UNSUPPORTED; PROVIDER_REJECTED when the vendor finds the request at fault
 * @throws CallCancelled when the signal fires
 */
export async function countTokens(
  request: GenerateRequest,
  provider: ProviderSettings,
  model: string,
  deps: TokenCountDeps,
): Promise<TokenCount> {
  const endpoint = provider.endpoints.find((known) => counterOf(known) !== undefined);
  const counter = endpoint && counterOf(endpoint);
  const facts = { attemptId: "", startTimeMs: deps.nowMs(), model };
  if (endpoint === undefined || counter === undefined) return guess(prepareCall(request, provider, facts));
  const call = prepareCall(unstreamed(request), { ...provider, endpoints: [endpoint] }, facts);
  const json = parseExact(call.body.toString());
  if (json === undefined) return guess(call);
  const counting: UpstreamCall = {
    ...call,
    path: counter.path(call.path),
    body: Buffer.from(writeJson(counter.body(json, model, call.path))),
  };
  try {
    const answer = await askInPlace(provider, counting, knownCodec(endpoint.dialect), deps);
    const inputTokens = answer && counter.read(answer);
    return inputTokens === undefined ? guess(call) : { inputTokens, estimated: false };
  } catch (thrown) {
    if (deps.signal.aborted) throw new CallCancelled();
    if (thrown instanceof WeirError && thrown.reason === ErrorReason.PROVIDER_REJECTED) throw thrown;
    return guess(call); // it could not be reached, or not in time, or has enough to do
  }
}

/** A count is a call like any other to the provider, though nobody is billed for it. */
async function askInPlace(
  provider: ProviderSettings,
  call: UpstreamCall,
  codec: Codec,
  deps: TokenCountDeps,
): Promise<JsonObject | undefined> {
  const entering = deps.enter(timeoutMs);
  if (entering !== undefined) await entering;
  try {
    return await ask(provider, call, codec, deps);
  } finally {
    deps.leave();
  }
}

function unstreamed(request: GenerateRequest): GenerateRequest {
  return request.wire === undefined ? request : { ...request, wire: { ...request.wire, stream: false } };
}

function guess(call: UpstreamCall): TokenCount {
  return { inputTokens: estimateInputTokens(call.body), estimated: true };
}

async function ask(
  provider: ProviderSettings,
  call: UpstreamCall,
  codec: Codec,
  { dispatcherOf, keys, nowMs, signal }: TokenCountDeps,
): Promise<JsonObject | undefined> {
  const key = await keys.use(provider, call);
  const { statusCode, headers, body } = await dispatcherOf(provider.origin).request({
    method: "POST",
    path: call.path,
    headers: joinHeaders(provider.headers, [...call.headers, ...key.headers]),
    body: call.body,
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  });
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > answerBytesMax) return undefined;
    parts.push(part);
  }
  const json = parseObject(Buffer.concat(parts).toString());
  const error = nameError(json && codec.readError(json), headers);
  const failure = statusCode === 200 ? undefined : judgeStatus(provider.id, statusCode, headers, error, nowMs());
  if (failure !== undefined) key.failed(failure);
  else key.accepted();
  if (statusCode === 400 || statusCode === 413 || statusCode === 422) {
    if (failure === undefined) throw rejected(provider.id, statusCode, error);
  }
  return statusCode === 200 ? json : undefined;
}

function knownCodec(dialect: Dialect): Codec {
  const codec = codecOf(dialect);
  if (codec === undefined) throw new Error("a counter without a codec");
  return codec;
}
