import type { Codec, RequestWriting } from "@weir/dialect/codec";
import { type HeaderRules, headerRules, pickClientHeaders } from "@weir/dialect/headers";
import { parseExact, writeJson } from "@weir/dialect/json";
import { upstreamBody } from "@weir/dialect/openai-chat/request";
import { tierOfRequest } from "@weir/dialect/service-tier";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { Dialect, type WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Capabilities } from "@weir/kit/config/capabilities";
import { WeirError } from "@weir/kit/weir-error";
import type { AnswerPath } from "./answers/answer-path.ts";
import { chatBytes } from "./answers/chat-bytes.ts";
import { translated } from "./answers/translated.ts";
import { watchedBytes } from "./answers/watched-bytes.ts";
import { paramIn, warningsIn } from "./client-params.ts";
import { chatCodecOf, codecOf } from "./codecs.ts";
import { clientDialectOf } from "./embeddings/client-dialects.ts";
import type { Joining } from "./embeddings/joining.ts";
import { prepareEmbeddings } from "./embeddings/prepare.ts";
import { joinHeaders } from "./join-headers.ts";
import type { ProviderSettings } from "./provider-set.ts";
import { mustRead, requireCapabilities, requireStreaming } from "./providers/capabilities-check.ts";
import type { Endpoint } from "./providers/endpoints.ts";
import type { TargetCodec } from "./providers/plugin.ts";

/** One call as its provider gets it, and what becomes of the answer. */
export interface UpstreamCall {
  /** Path and query. */
  readonly path: string;
  /** Headers of this call alone, for undici: name, value, name, value. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  /** Whether the provider is asked for a stream. */
  readonly stream: boolean;
  readonly answers: AnswerPath;
  /** Which headers of the provider the caller may see; undefined: none. */
  readonly headerRules: HeaderRules | undefined;
  /** What the target could not express; `param` is a path of the caller's request. */
  readonly warnings: readonly Warning[];
  /** The service tier that the provider is asked for by name: `flex` or `priority`. */
  readonly serviceTier?: string | undefined;
  /** Of a call for embeddings. */
  readonly embeddings?: {
    /** How it may be made together with others; undefined: it cannot. */
    joining(): Joining | undefined;
  };
}

/** Facts that answers need which the provider leaves out. */
export interface CallFacts {
  readonly attemptId: string;
  readonly startTimeMs: number;
  /** The target's model. */
  readonly model: string;
}

/**
 * Prepares a call. In a dialect that the provider speaks the body passes as it came, but for the model's name; in any other, and for
 * canonical requests, it is translated into the first of the provider's dialects.
 * @throws WeirError INVALID_REQUEST or TARGET_UNSUPPORTED, with `param` as the caller knows it; CONTEXT_TOO_LONG
 */
export function prepareCall(request: GenerateRequest, provider: ProviderSettings, facts: CallFacts): UpstreamCall {
  const { wire } = request;
  if (wire === undefined) return translate(request, undefined, provider, facts);
  const embeddings = clientDialectOf(wire.dialect);
  if (embeddings !== undefined) return prepareEmbeddings(embeddings, wire, provider, facts);
  const endpoint = provider.endpoints.find(({ dialect }) => dialect === wire.dialect);
  if (endpoint === undefined) return translate(request, wire, provider, facts);
  // Only server-sent events pass as bytes: no client has the other framings.
  if (codecOf(wire.dialect)?.framing !== "sse") return translate(request, wire, provider, facts);
  if (!holdsOurMarks(wire)) return passThrough(wire, endpoint, provider, facts);
  const rewritten = translate(request, wire, { ...provider, endpoints: [endpoint] }, facts);
  const rules = headerRules(wire.dialect);
  const picked = Object.entries(pickClientHeaders(rules, wire.headers)).flat();
  return { ...rewritten, headers: joinHeaders(rewritten.headers, picked), headerRules: rules };
}

/**
 * By what a conversation shows that another vendor answered a turn of it: proofs and ids that have no place in the client's dialect travel in
 * fields that only their own vendor understands, marked so. A vendor refuses what it did not seal itself.
 */
const ourMarks: Readonly<Partial<Record<Dialect, readonly string[]>>> = {
  [Dialect.OPENAI_RESPONSES]: valuesThatBegin("weir:", "rs_weir_"),
  [Dialect.ANTHROPIC_MESSAGES]: [...valuesThatBegin("weir:", "weir-call:"), '"signature":""', '"signature": ""'],
};

/** Values of members, as JSON is written; inside a text the quote would be escaped. */
function valuesThatBegin(...marks: readonly string[]): string[] {
  return marks.flatMap((mark) => [`:"${mark}`, `: "${mark}`]);
}

/** Whether a body of the provider's own dialect must be read and written again for it. */
function holdsOurMarks({ dialect, body }: WireRequest): boolean {
  const marks = ourMarks[dialect];
  if (marks === undefined) return false;
  const bytes = asBuffer(body);
  return marks.some((mark) => bytes.includes(mark));
}

function passThrough(
  wire: WireRequest,
  { dialect, path }: Endpoint,
  provider: ProviderSettings,
  { model }: CallFacts,
): UpstreamCall {
  const { streamsUsage, apiVersion, capabilities } = provider;
  checkBytes(wire, capabilities.declared(model), provider);
  const rules = headerRules(dialect);
  const isChat = dialect === Dialect.OPENAI_CHAT || dialect === Dialect.OPENAI_COMPLETIONS;
  const inPath = wire.model === undefined && dialect === Dialect.GEMINI;
  return {
    path: path(model, wire.stream),
    headers: callHeaders(dialect, apiVersion, pickClientHeaders(rules, wire.headers)),
    body: inPath ? asBuffer(wire.body) : upstreamBody(wire, model, isChat && streamsUsage),
    stream: wire.stream,
    answers: isChat ? chatBytes(wire.includeUsage) : watchedBytes(knownCodec(dialect)),
    headerRules: rules,
    warnings: [],
    serviceTier: wire.serviceTier,
  };
}

/** Of bytes that pass, no more is read than the provider's own declarations need. */
function checkBytes(wire: WireRequest, capabilities: Capabilities, provider: ProviderSettings): void {
  const read = mustRead(capabilities, wire.body.length);
  if (!read && capabilities.streaming !== false) return;
  const client = knownCodec(wire.dialect);
  asCallerKnows(provider, client, () => {
    requireStreaming(wire.stream, capabilities);
    const canonical = read ? readLeniently(client, wire.body) : undefined;
    if (canonical !== undefined) requireCapabilities(canonical, capabilities);
  });
}

/** A request of the provider's own dialect; undefined for one that only the provider can judge. */
function readLeniently(client: Codec, body: Uint8Array): GenerateRequest | undefined {
  const json = parseExact(asBuffer(body).toString());
  try {
    return json && client.readRequest(json);
  } catch (thrown) {
    if (thrown instanceof WeirError) return undefined;
    throw thrown;
  }
}

function translate(
  request: GenerateRequest,
  wire: WireRequest | undefined,
  provider: ProviderSettings,
  facts: CallFacts,
): UpstreamCall {
  const [endpoint] = provider.endpoints;
  if (endpoint === undefined) throw new WeirError(ErrorReason.INTERNAL);
  const target = targetCodec(endpoint, provider);
  // A canonical caller reads events as they come, or all at once.
  const stream = wire?.stream ?? provider.capabilities.known(facts.model).streaming !== false;
  if (wire === undefined) {
    const writing = write(target, request, stream, provider, facts, undefined);
    return {
      ...translatedCall(
        endpoint,
        provider,
        writing,
        stream,
        facts.model,
        translated(target, "canonical"),
        writing.warnings,
      ),
      serviceTier: askedTier(request, writing),
    };
  }
  const client = knownCodec(wire.dialect);
  const json = parseExact(asBuffer(wire.body).toString());
  if (json === undefined) throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not a JSON object." });
  // What it names in a refusal is the client's own already.
  const canonical = asCallerKnows(provider, undefined, () => client.readRequest(json));
  const writing = write(target, canonical, stream, provider, facts, client);
  const warnings = warningsIn(client, canonical, writing.warnings);
  const options = {
    id: facts.attemptId,
    createTimeMs: facts.startTimeMs,
    model: facts.model,
    includeUsage: wire.includeUsage,
    request: json,
  };
  const answers = translated(target, { codec: client, options });
  return {
    ...translatedCall(endpoint, provider, writing, stream, facts.model, answers, warnings),
    serviceTier: askedTier(canonical, writing),
  };
}

/** What of the tier in a request reaches the target. */
function askedTier({ serviceTier }: GenerateRequest, { warnings }: RequestWriting): string | undefined {
  return warnings.some(({ param }) => param === "service_tier") ? undefined : tierOfRequest(serviceTier);
}

function targetCodec({ codec, dialect }: Endpoint, provider: ProviderSettings): TargetCodec {
  if (codec !== undefined) return codec;
  return dialect === Dialect.OPENAI_CHAT ? chatCodecOf(provider) : knownCodec(dialect);
}

function translatedCall(
  { dialect, path }: Endpoint,
  { apiVersion }: ProviderSettings,
  { body, headers = {} }: RequestWriting,
  stream: boolean,
  model: string,
  answers: AnswerPath,
  warnings: readonly Warning[],
): UpstreamCall {
  return {
    path: path(model, stream),
    headers: callHeaders(dialect, apiVersion, headers),
    body: Buffer.from(writeJson(body)),
    stream,
    answers,
    headerRules: undefined,
    warnings,
  };
}

function write(
  target: TargetCodec,
  request: GenerateRequest,
  stream: boolean,
  provider: ProviderSettings,
  { model }: CallFacts,
  client: Codec | undefined,
): RequestWriting {
  const { maxOutputTokensDefault, capabilities } = provider;
  return asCallerKnows(provider, client, () => {
    const known = capabilities.known(model);
    requireStreaming(stream, known);
    requireCapabilities(request, known);
    return target.writeRequest(request, { model, stream, maxOutputTokensDefault });
  });
}

/** Runs what may refuse a request; a refusal names the provider, and its `param` as the client's dialect calls it. */
function asCallerKnows<T>(provider: ProviderSettings, client: Codec | undefined, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    if (!(thrown instanceof WeirError) || thrown.reason !== ErrorReason.TARGET_UNSUPPORTED) throw thrown;
    const { param } = thrown.metadata;
    throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
      text: thrown.message,
      metadata: {
        provider: provider.id,
        ...(param === undefined ? {} : { param: client === undefined ? param : paramIn(client, param) }),
      },
    });
  }
}

/** For undici: name, value, name, value. Anthropic refuses calls that name no version; the client's own goes first. */
function callHeaders(dialect: Dialect, apiVersion: string, picked: Readonly<Record<string, string>>): string[] {
  const wanted =
    dialect === Dialect.ANTHROPIC_MESSAGES
      ? { "anthropic-version": apiVersion || anthropicVersion, ...picked }
      : picked;
  return Object.entries(wanted).flat();
}

/** https://platform.claude.com/docs/en/api/versioning */
const anthropicVersion = "2023-06-01";

function knownCodec(dialect: Dialect): Codec {
  const codec = codecOf(dialect);
  if (codec !== undefined) return codec;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "The request's dialect is not known to this pool.",
    metadata: { param: "request.wire.dialect" },
  });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
