import type { IncomingHttpHeaders } from "node:http";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { ollama } from "@weir/dialect/ollama/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import {
  anthropicRefusals,
  bedrockRefusals,
  geminiRefusals,
  ollamaRefusals,
  openaiRefusals,
  type Refusals,
} from "./refusals.ts";
import { isSigned, signingKey } from "./signature.ts";

/** A kind of simulated vendor: where it is called, how callers prove who they are, and what it cannot say. */
export interface VendorKind {
  readonly codec: Codec;
  /** Its entry under `providers` of weir.yaml. */
  config(url: string): object;
  /** Finds the call in a path; undefined for paths that the vendor does not serve. */
  readPath(path: string): PathCall | undefined;
  isAuthorized(call: {
    readonly headers: IncomingHttpHeaders;
    readonly path: string;
    readonly body: Buffer;
  }): boolean | Promise<boolean>;
  readonly refusals: Refusals;
  /** What the names of its models begin with: models of their traits. */
  readonly modelStem: string;
}

/** What the path of a call says; the rest is in its body. */
export interface PathCall {
  readonly model?: string;
  readonly stream?: boolean;
}

const key = (name: string) => `key-of-${name}`;

/** https://platform.claude.com/docs/en/api/versioning */
const anthropicVersions: ReadonlySet<unknown> = new Set(["2023-06-01", "2026-10-21"]);

function bearer(name: string) {
  return ({ headers }: { readonly headers: IncomingHttpHeaders }) => headers["authorization"] === `Bearer ${key(name)}`;
}

function at(expected: string) {
  return (path: string): PathCall | undefined => (path === expected ? {} : undefined);
}

export const vendorKinds = {
  "openai-chat": {
    codec: openaiChat,
    config: (url) => ({
      kind: "openai",
      base_url: `${url}/v1`,
      api_key: key("openai-chat"),
      dialects: ["openai-chat"],
    }),
    readPath: at("/v1/chat/completions"),
    isAuthorized: bearer("openai-chat"),
    refusals: openaiRefusals,
    modelStem: "gpt-5.1",
  },
  "openai-responses": {
    codec: openaiResponses,
    config: (url) => ({
      kind: "openai",
      base_url: `${url}/v1`,
      api_key: key("openai-responses"),
      dialects: ["openai-responses"],
    }),
    readPath: at("/v1/responses"),
    isAuthorized: bearer("openai-responses"),
    refusals: openaiRefusals,
    modelStem: "gpt-5.1",
  },
  anthropic: {
    codec: anthropicMessages,
    config: (url) => ({ kind: "anthropic", base_url: `${url}/v1`, api_key: key("anthropic") }),
    readPath: at("/v1/messages"),
    isAuthorized: ({ headers }) =>
      headers["x-api-key"] === key("anthropic") && anthropicVersions.has(headers["anthropic-version"]),
    refusals: anthropicRefusals,
    modelStem: "claude-sonnet-4-6",
  },
  gemini: {
    codec: gemini,
    config: (url) => ({ kind: "gemini", base_url: `${url}/v1beta`, api_key: key("gemini"), stops_on_disconnect: true }),
    readPath: readGeminiPath,
    isAuthorized: ({ headers }) => headers["x-goog-api-key"] === key("gemini"),
    refusals: geminiRefusals,
    modelStem: "gemini-3-pro",
  },
  bedrock: {
    codec: bedrockConverse,
    config: (url) => ({
      kind: "bedrock",
      base_url: url,
      region: signingKey.region,
      stops_on_disconnect: true,
      aws: { access_key_id: signingKey.accessKeyId, secret_access_key: signingKey.secretAccessKey },
    }),
    readPath: readBedrockPath,
    isAuthorized: isSigned,
    refusals: bedrockRefusals,
    modelStem: "eu.anthropic.claude-sonnet-4-6",
  },
  ollama: {
    codec: ollama,
    config: (url) => ({ kind: "ollama", base_url: url, api_key: key("ollama"), dialects: ["ollama"] }),
    readPath: at("/api/chat"),
    isAuthorized: bearer("ollama"),
    refusals: ollamaRefusals,
    modelStem: "qwen3",
  },
} as const satisfies Record<string, VendorKind>;

export type VendorName = keyof typeof vendorKinds;

/** https://ai.google.dev/api/generate-content */
function readGeminiPath(path: string): PathCall | undefined {
  const [, model, verb] =
    /^\/v1beta\/models\/([^/:?]+):(generateContent|streamGenerateContent\?alt=sse)$/.exec(path) ?? [];
  return model === undefined ? undefined : { model: decodeURIComponent(model), stream: verb !== "generateContent" };
}

/** https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html */
function readBedrockPath(path: string): PathCall | undefined {
  const [, model, streamed] = /^\/model\/([^/?]+)\/converse(-stream)?$/.exec(path) ?? [];
  return model === undefined ? undefined : { model: decodeURIComponent(model), stream: streamed !== undefined };
}
