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
import { callsModels, type KeyedCall, type Route, versioned, versionedAsOpenai } from "./route.ts";
import { createArrayForm } from "./stream-form.ts";

/** Dialects whose requests name the model and the stream in the body. */
const bodyDialects: readonly (readonly [path: string, codec: Codec, endpoint: string, at: typeof versioned])[] = [
  ["/chat/completions", openaiChat, "chat", versionedAsOpenai],
  ["/completions", openaiCompletions, "chat", versionedAsOpenai],
  ["/embeddings", openaiEmbeddingsDoor, "embeddings", versionedAsOpenai],
  ["/messages", anthropicMessages, "chat", versioned],
  ["/generate", weirGenerate, "chat", versioned],
  ["/chat", weirChat, "chat", versioned],
];

/** What OpenAI's library for Azure asks of a deployment, of what is served here. */
const deploymentDialects: readonly (readonly [path: string, codec: Codec, endpoint: string])[] = [
  ["/chat/completions", openaiChat, "chat"],
  ["/completions", openaiCompletions, "chat"],
  ["/embeddings", openaiEmbeddingsDoor, "embeddings"],
];

/** Google's library calls the first one since its version 3. https://ai.google.dev/gemini-api/docs/api-versions */
const geminiVersions = ["/v1", "/v1beta", "/v1alpha"];

/** The routes of all public dialects in which clients ask for a model's reply. */
export function createDialectRoutes(deps: GenerateDeps): Route[] {
  const plain = bodyDialects.flatMap(([path, codec, endpoint, at]) =>
    at({
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
    ...geminiVersions.flatMap((version) => createGeminiRoutes(deps, version)),
    ...deploymentDialects.flatMap((dialect) => createDeploymentRoutes(deps, ...dialect)),
  ];
}

/**
 * As in OpenAI's dialects on Azure: the deployment is the model. The library puts it into the path under whatever base URL it has, that of
 * version 1 too. https://learn.microsoft.com/azure/ai-foundry/openai/reference
 */
function createDeploymentRoutes(deps: GenerateDeps, path: string, codec: Codec, endpoint: string): Route[] {
  const label = `/openai/deployments/{deployment}${path}`;
  const handle = createGenerate(deps, codec, label, ({ params }) => ({ model: params["deployment"] ?? "" }));
  return [label, `/openai/v1/deployments/{deployment}${path}`].map((template) => ({
    method: "POST",
    path: template,
    label,
    access: callsModels(endpoint),
    voice: codec,
    handle,
  }));
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
  readPath: readModelPath,
};

/** The verbs of a model. https://ai.google.dev/api/generate-content */
function createGeminiRoutes(deps: GenerateDeps, version: string): Route[] {
  const label = `${version}/models:generateContent`;
  const verbs: Readonly<Record<string, (call: KeyedCall) => Promise<void>>> = {
    generateContent: createGenerate(deps, gemini, label, (call) => ({ ...readModelPath(call), stream: false })),
    streamGenerateContent: createGenerate(deps, gemini, label, readStreamPath),
    countTokens: createCountTokens(deps, geminiCount),
    embedContent: createGenerate(deps, geminiEmbedContentDoor, label, readModelPath),
    batchEmbedContents: createGenerate(deps, geminiBatchEmbedContentsDoor, label, readModelPath),
  };
  return Object.entries(verbs).map(([verb, handle]) => ({
    method: "POST",
    path: `${version}/models/{id=**}:${verb}`,
    label,
    access: callsModels("chat"),
    voice: gemini,
    handle,
  }));
}

function readModelPath({ params }: KeyedCall): { readonly model: string } {
  return { model: params["id"] ?? "" };
}

/** `MODEL:streamGenerateContent`, with `alt` as https://cloud.google.com/apis/docs/system-parameters has it. */
function readStreamPath(call: KeyedCall): PathFacts {
  const { exchange } = call;
  const { model } = readModelPath(call);
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
