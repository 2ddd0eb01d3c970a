import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiCompletions } from "@weir/dialect/openai-completions/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { weirChat } from "@weir/dialect/weir-chat/codec";
import { weirGenerate } from "@weir/dialect/weir-generate/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { createGenerate, type GenerateDeps, type PathFacts } from "./generate.ts";
import { type KeyedCall, type Route, versioned } from "./route.ts";

/** Dialects whose requests name the model and the stream in the body. */
const bodyDialects: readonly (readonly [path: string, codec: Codec])[] = [
  ["/chat/completions", openaiChat],
  ["/completions", openaiCompletions],
  ["/responses", openaiResponses],
  ["/messages", anthropicMessages],
  ["/generate", weirGenerate],
  ["/chat", weirChat],
];

/** Google's library calls the first one since its version 3. https://ai.google.dev/gemini-api/docs/api-versions */
const geminiVersions = ["/v1", "/v1beta", "/v1alpha"];

/** The routes of all public dialects in which clients ask for a model's reply. */
export function createDialectRoutes(deps: GenerateDeps): Route[] {
  const plain = bodyDialects.flatMap(([path, codec]) =>
    versioned({
      method: "POST",
      path,
      access: "key",
      voice: codec,
      handle: createGenerate(deps, codec, `/v1${path}`),
    }),
  );
  return [
    ...plain,
    ...geminiVersions.map(
      (version): Route => ({
        method: "POST",
        // The name is that of `GET /v1/models/...`: one path has one template.
        path: `${version}/models/{id=**}`,
        label: `${version}/models:generateContent`,
        access: "key",
        voice: gemini,
        handle: createGenerate(deps, gemini, `${version}/models:generateContent`, readGeminiPath),
      }),
    ),
    {
      method: "POST",
      path: "/openai/deployments/{deployment}/chat/completions",
      label: "/openai/deployments/chat/completions",
      access: "key",
      voice: openaiChat,
      // As in OpenAI's dialect on Azure: the deployment is the model. https://learn.microsoft.com/azure/ai-foundry/openai/reference
      handle: createGenerate(deps, openaiChat, "/openai/deployments/chat/completions", ({ params }) => ({
        model: params["deployment"] ?? "",
      })),
    },
  ];
}

/** `MODEL:generateContent`, `MODEL:streamGenerateContent?alt=sse`. https://ai.google.dev/api/generate-content */
function readGeminiPath({ params, exchange }: KeyedCall): PathFacts {
  const call = params["id"] ?? "";
  const colon = call.lastIndexOf(":");
  const verb = call.slice(colon + 1);
  const model = call.slice(0, Math.max(colon, 0));
  if (verb === "generateContent") return { model, stream: false };
  if (verb !== "streamGenerateContent") throw new WeirError(ErrorReason.NOT_FOUND);
  const query = new URLSearchParams(exchange.request.url?.split("?")[1] ?? "");
  if (query.get("alt") !== "sse") {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "Streams are sent as server-sent events alone: add `?alt=sse`.",
      metadata: { param: "alt" },
    });
  }
  return { model, stream: true };
}
