import type { RequestWriting } from "@weir/dialect/codec";
import type { EmbeddingClient, EmbeddingRequest } from "@weir/dialect/embeddings/embedding";
import { expectationOf } from "@weir/dialect/embeddings/expectation";
import { geminiEmbeddings } from "@weir/dialect/embeddings/gemini";
import { isBatch, withModel } from "@weir/dialect/embeddings/gemini-request";
import { openaiEmbeddings } from "@weir/dialect/embeddings/openai";
import { headerRules } from "@weir/dialect/headers";
import { type JsonObject, parseExact, writeJson } from "@weir/dialect/json";
import { upstreamBody } from "@weir/dialect/openai-chat/request";
import { estimateInputTokens } from "@weir/dialect/wire-request";
import { Dialect, type WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { ProviderSettings } from "../provider-set.ts";
import type { CallFacts, UpstreamCall } from "../upstream.ts";
import { embeddingAnswers } from "./answers.ts";
import type { EmbeddingRoute } from "./routes.ts";

const clients: ReadonlyMap<Dialect, EmbeddingClient> = new Map(
  [openaiEmbeddings, geminiEmbeddings].map((client) => [client.dialect, client]),
);

/** The dialect of a request for embeddings; undefined for every other request. */
export function embeddingClientOf(dialect: Dialect): EmbeddingClient | undefined {
  return clients.get(dialect);
}

/**
 * Prepares a call for embeddings. For a target of the client's dialect the body passes as it came, but for the model's name.
 * @throws WeirError INVALID_REQUEST or TARGET_UNSUPPORTED, with `param` as the caller knows it
 */
export function prepareEmbeddings(
  client: EmbeddingClient,
  wire: WireRequest,
  provider: ProviderSettings,
  { model }: CallFacts,
): UpstreamCall {
  const route = provider.embeddings(model);
  if (route === undefined) {
    throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
      text: "This provider makes no embeddings with this model.",
      metadata: { param: "model", provider: provider.id },
    });
  }
  const bytes = Buffer.from(wire.body.buffer, wire.body.byteOffset, wire.body.byteLength);
  const json = parseExact(bytes.toString());
  if (json === undefined) throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not a JSON object." });
  const reader = {
    target: route.target,
    model,
    write: (answer: Parameters<EmbeddingClient["writeAnswer"]>[0]) => client.writeAnswer(answer, json),
    countInput: () => estimateInputTokens(bytes),
  };
  if (route.dialect === client.dialect) {
    const expectation = client.readExpectation(json);
    return {
      ...(client.dialect === Dialect.GEMINI_EMBEDDINGS
        ? geminiCall(route, json, model)
        : openaiCall(route, wire, model)),
      headers: [],
      stream: false,
      answers: embeddingAnswers({ ...reader, expectation, same: true }),
      // All of OpenAI's APIs have the same headers; Gemini's have none that pass.
      headerRules: client.dialect === Dialect.OPENAI_EMBEDDINGS ? headerRules(Dialect.OPENAI_CHAT) : undefined,
      warnings: [],
    };
  }
  const request = client.readRequest(json);
  const { body, warnings } = write(request, route, model, provider, (param) => client.paramIn(param, json));
  return {
    path: route.path,
    headers: [],
    body: Buffer.from(writeJson(body)),
    stream: false,
    answers: embeddingAnswers({ ...reader, expectation: expectationOf(request), same: false }),
    headerRules: undefined,
    warnings,
  };
}

function openaiCall({ path }: EmbeddingRoute, wire: WireRequest, model: string) {
  return { path, body: upstreamBody(wire, model, false) };
}

function geminiCall({ path, onePath }: EmbeddingRoute, json: JsonObject, model: string) {
  return { path: isBatch(json) ? path : onePath, body: Buffer.from(writeJson(withModel(json, model))) };
}

/** Writes a request for its target, and names in warnings and refusals what the client sent. */
function write(
  request: EmbeddingRequest,
  { target }: EmbeddingRoute,
  model: string,
  { id }: ProviderSettings,
  paramIn: (param: string) => string,
): RequestWriting {
  try {
    const { body, warnings } = target.writeRequest(request, model);
    return { body, warnings: warnings.map((warning) => ({ ...warning, param: paramIn(warning.param) })) };
  } catch (thrown) {
    if (!(thrown instanceof WeirError) || thrown.reason !== ErrorReason.TARGET_UNSUPPORTED) throw thrown;
    const { param = "" } = thrown.metadata;
    throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
      text: thrown.message,
      metadata: { param: paramIn(param), provider: id },
    });
  }
}
