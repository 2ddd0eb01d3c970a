import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { writeTokenCount } from "@weir/dialect/anthropic-messages/count-tokens";
import type { Codec } from "@weir/dialect/codec";
import {
  geminiBatchEmbedContentsDoor,
  geminiEmbedContentDoor,
  openaiEmbeddingsDoor,
} from "@weir/dialect/embeddings/door";
import { gemini } from "@weir/dialect/gemini/codec";
import { writeCountTokensAnswer } from "@weir/dialect/gemini/count-tokens";
import { isObject } from "@weir/dialect/json";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiCompletions } from "@weir/dialect/openai-completions/codec";
import { weirChat } from "@weir/dialect/weir-chat/codec";
import { weirGenerate } from "@weir/dialect/weir-generate/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type CountDialect, createCountTokens } from "./count-tokens.ts";
import type { ErrorVoice } from "../http/exchange.ts";
import { createGenerate, type GenerateDeps, type PathFacts } from "./generate.ts";
import { callsModels, type KeyedCall, type Route, versioned } from "./route.ts";
import { createArrayForm } from "./stream-form.ts";

/** Dialects whose requests name the model and the stream in the body. */
const bodyDialects: readonly (readonly [path: string, codec: Codec, endpoint: string])[] = [
  ["/chat/completions", openaiChat, "chat"],
  ["/completions", openaiCompletions, "chat"],
  ["/embeddings", openaiEmbeddingsDoor, "embeddings"],
  ["/messages", anthropicMessages, "chat"],
  ["/generate", weirGenerate, "chat"],
  ["/chat", weirChat, "chat"],
];

/** Google's library calls the first one since its version 3. https://ai.google.dev/gemini-api/docs/api-versions */
const geminiVersions = ["/v1", "/v1beta", "/v1alpha"];

/** The routes of all public dialects in which clients ask for a model's reply. */
export function createDialectRoutes(deps: GenerateDeps): Route[] {
  const plain = bodyDialects.flatMap(([path, codec, endpoint]) =>
    versioned({
      method: "POST",
      path,
      access: callsModels(endpoint),
      voice: codec,
      handle: createGenerate(deps, codec, `/v1${path}`),
    }),
  );
  return [
    ...plain,
    ...versioned({
      method: "POST",
      path: "/messages/count_tokens",
      access: callsModels("chat"),
      voice: anthropicMessages,
      handle: createCountTokens(deps, anthropicCount),
    }),
    ...geminiVersions.map(
      (version): Route => ({
        method: "POST",
        // The name is that of `GET /v1/models/...`: one path has one template.
        path: `${version}/models/{id=**}`,
        label: `${version}/models:generateContent`,
        access: callsModels("chat"),
        voice: gemini,
        handle: createGeminiCall(deps, `${version}/models:generateContent`),
      }),
    ),
    deploymentRoute(deps, "/chat/completions", openaiChat, "chat"),
    deploymentRoute(deps, "/embeddings", openaiEmbeddingsDoor, "embeddings"),
  ];
}

/** As in OpenAI's dialects on Azure: the deployment is the model. https://learn.microsoft.com/azure/ai-foundry/openai/reference */
function deploymentRoute(deps: GenerateDeps, path: string, codec: Codec, endpoint: string): Route {
  const label = `/openai/deployments${path}`;
  return {
    method: "POST",
    path: `/openai/deployments/{deployment}${path}`,
    label,
    access: callsModels(endpoint),
    voice: codec,
    handle: createGenerate(deps, codec, label, ({ params }) => ({ model: params["deployment"] ?? "" })),
  };
}

/** Requests for a count lack the limit that a reply would have. */
const anthropicCount: CountDialect = {
  codec: anthropicMessages,
  toRequest: (body) => ({ max_tokens: 1, ...body }),
  write: writeTokenCount,
};

const geminiCount: CountDialect = {
  codec: gemini,
  toRequest(body) {
    const inner = body["generateContentRequest"] ?? body["generate_content_request"];
    if (!isObject(inner)) return body;
    const { model: _, ...request } = inner;
    return request;
  },
  write: writeCountTokensAnswer,
  readPath: ({ params }) => ({ model: (params["id"] ?? "").slice(0, -countVerb.length) }),
};

const countVerb = ":countTokens";

/** A call of one of a model's verbs. */
function createGeminiCall(deps: GenerateDeps, label: string): (call: KeyedCall) => Promise<void> {
  const generate = createGenerate(deps, gemini, label, readGeminiPath);
  const others = new Map([
    [countVerb, createCountTokens(deps, geminiCount)],
    [":embedContent", createGenerate(deps, geminiEmbedContentDoor, label, readModelPath)],
    [":batchEmbedContents", createGenerate(deps, geminiBatchEmbedContentsDoor, label, readModelPath)],
  ]);
  return (call) => (others.get(verbOf(call)) ?? generate)(call);
}

/** The verb of a call, with its colon; empty when it has none. */
function verbOf({ params: { id = "" } }: KeyedCall): string {
  const colon = id.lastIndexOf(":");
  return colon < 0 ? "" : id.slice(colon);
}

/** The model of a call that has a verb. */
function readModelPath(call: KeyedCall): PathFacts {
  return { model: call.params["id"]?.slice(0, -verbOf(call).length) ?? "" };
}

/**
 * `MODEL:generateContent`, `MODEL:streamGenerateContent`, the latter with `alt` as https://cloud.google.com/apis/docs/system-parameters has it.
 * https://ai.google.dev/api/generate-content
 */
function readGeminiPath({ params, exchange }: KeyedCall): PathFacts {
  const call = params["id"] ?? "";
  const colon = call.lastIndexOf(":");
  const verb = call.slice(colon + 1);
  const model = call.slice(0, Math.max(colon, 0));
  if (verb === "generateContent") return { model, stream: false };
  if (verb !== "streamGenerateContent") throw new WeirError(ErrorReason.NOT_FOUND);
  const query = new URLSearchParams(exchange.request.url?.split("?")[1] ?? "");
  const alt = query.get("alt") ?? query.get("$alt") ?? "json";
  if (alt === "sse") return { model, stream: true };
  if (alt !== "json") {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`alt` must be `sse` or `json`.",
      metadata: { param: "alt" },
    });
  }
  const { form, voice } = createArrayForm();
  exchange.voice = voice;
  return { model, stream: true, form };
}

/** How failures are told where no route answers: by the vendor whose paths begin so. Undefined: as OpenAI does. */
export function voiceOfPath(path: string): ErrorVoice | undefined {
  if (/^(?:\/v1)?\/messages(?:\/|$)/.test(path)) return anthropicMessages;
  return /^\/v1(?:beta|alpha)/.test(path) ? gemini : undefined;
}
