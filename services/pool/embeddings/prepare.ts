import type { RequestWriting } from "@weir/dialect/codec";
import type { EmbeddingAnswer, EmbeddingClient, EmbeddingRequest } from "@weir/dialect/embeddings/embedding";
import { expectationOf } from "@weir/dialect/embeddings/expectation";
import { type JsonObject, parseExact, writeJson } from "@weir/dialect/json";
import { estimateInputTokens } from "@weir/dialect/wire-request";
import type { WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { ProviderSettings } from "../provider-set.ts";
import type { CallFacts, UpstreamCall } from "../upstream.ts";
import { embeddingAnswers } from "./answers.ts";
import type { ClientDialect, Sent } from "./client-dialects.ts";
import { joiningOf } from "./joining.ts";
import type { EmbeddingRoute } from "./routes.ts";

/**
 * Prepares a call for embeddings. For a target of the client's dialect the body passes as it came, but for the model's name.
 * @throws WeirError INVALID_REQUEST or TARGET_UNSUPPORTED, with `param` as the caller knows it
 */
export function prepareEmbeddings(
  dialect: ClientDialect,
  wire: WireRequest,
  provider: ProviderSettings,
  { model }: CallFacts,
): UpstreamCall {
  const { client } = dialect;
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
  const same = route.dialect === client.dialect;
  const { path, body, warnings, expectation, listed } = same
    ? dialect.pass(wire, json, route, model)
    : translate(client, json, route, model, provider);
  const common = {
    target: route.target,
    model,
    expectation,
    write: (answer: EmbeddingAnswer) => client.writeAnswer(answer, json),
  };
  return {
    path,
    headers: [],
    body,
    stream: false,
    answers: embeddingAnswers({ ...common, same, countInput: () => estimateInputTokens(bytes) }),
    headerRules: same ? dialect.headerRules : undefined,
    warnings,
    embeddings: { joining: () => joiningOf({ ...common, path: route.path, body: listed() }) },
  };
}

function translate(
  client: EmbeddingClient,
  json: JsonObject,
  route: EmbeddingRoute,
  model: string,
  provider: ProviderSettings,
): Sent {
  const request = client.readRequest(json);
  const { body, warnings } = write(request, route, model, provider, (param) => client.paramIn(param, json));
  return {
    path: route.path,
    body: Buffer.from(writeJson(body)),
    warnings,
    expectation: expectationOf(request),
    listed: () => body, // no request that is translated has a user left
  };
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
