import type { EmbeddingClient, Expectation } from "@weir/dialect/embeddings/embedding";
import { geminiEmbeddings } from "@weir/dialect/embeddings/gemini";
import { isBatch, withModel } from "@weir/dialect/embeddings/gemini-request";
import { openaiEmbeddings } from "@weir/dialect/embeddings/openai";
import { type HeaderRules, headerRules } from "@weir/dialect/headers";
import { type JsonObject, writeJson } from "@weir/dialect/json";
import { upstreamBody } from "@weir/dialect/openai-chat/request";
import { Dialect, type WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import type { UpstreamCall } from "../upstream.ts";
import type { EmbeddingRoute } from "./routes.ts";

/** A dialect in which clients ask for embeddings. */
export interface ClientDialect {
  readonly client: EmbeddingClient;
  /** Which headers of a provider that speaks it the client may see. */
  readonly headerRules: HeaderRules | undefined;
  /** Passes a request on to a target that speaks it: as it came, but for the model's name. */
  pass(wire: WireRequest, json: JsonObject, route: EmbeddingRoute, model: string): Sent;
}

/** A request as its target gets it. */
export interface Sent extends Pick<UpstreamCall, "path" | "body" | "warnings"> {
  readonly expectation: Expectation;
  /** The request with its inputs in a list and without its user, as a call of several requests wants it. */
  listed(): JsonObject;
}

/** The dialect of a request for embeddings; undefined for every other request. */
export function clientDialectOf(dialect: Dialect): ClientDialect | undefined {
  return dialects.get(dialect);
}

const dialects: ReadonlyMap<Dialect, ClientDialect> = new Map([
  [
    Dialect.OPENAI_EMBEDDINGS,
    // All of OpenAI's APIs have the same headers.
    { client: openaiEmbeddings, headerRules: headerRules(Dialect.OPENAI_CHAT), pass: passOpenai },
  ],
  [Dialect.GEMINI_EMBEDDINGS, { client: geminiEmbeddings, headerRules: undefined, pass: passGemini }],
]);

function passOpenai(wire: WireRequest, json: JsonObject, { path }: EmbeddingRoute, model: string): Sent {
  return {
    path,
    body: upstreamBody(wire, model, false),
    warnings: [],
    expectation: openaiEmbeddings.readExpectation(json),
    listed() {
      const { user: _, input, ...rest } = json;
      const isList = Array.isArray(input) && typeof input[0] !== "number";
      return { ...rest, model, input: isList ? input : [input] };
    },
  };
}

function passGemini(_: WireRequest, json: JsonObject, { path, onePath }: EmbeddingRoute, model: string): Sent {
  return {
    path: isBatch(json) ? path : onePath,
    body: Buffer.from(writeJson(withModel(json, model))),
    warnings: [],
    expectation: geminiEmbeddings.readExpectation(json),
    listed: () => withModel(isBatch(json) ? json : { requests: [json] }, model),
  };
}
