import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { ollama } from "@weir/dialect/ollama/codec";
import { createOpenaiChat, openaiChat } from "@weir/dialect/openai-chat/codec";
import { compatibleTraits, openaiTraits } from "@weir/dialect/openai-chat/traits";
import { vendorTraits } from "@weir/dialect/openai-chat/vendors";
import { openaiCompletions } from "@weir/dialect/openai-completions/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { weirChat } from "@weir/dialect/weir-chat/codec";
import { weirGenerate } from "@weir/dialect/weir-generate/codec";
import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { ProviderSettings } from "./provider-set.ts";

const codecs: readonly Codec[] = [
  openaiChat,
  openaiResponses,
  openaiCompletions,
  anthropicMessages,
  gemini,
  bedrockConverse,
  ollama,
  weirGenerate,
  weirChat,
];

const byDialect: ReadonlyMap<Dialect, Codec> = new Map(codecs.map((codec) => [codec.dialect, codec]));
const byName: ReadonlyMap<string, Codec> = new Map(codecs.map((codec) => [codec.name, codec]));

/** The codec of a dialect; undefined for one that this version does not know. */
export function codecOf(dialect: Dialect): Codec | undefined {
  return byDialect.get(dialect);
}

/** The dialect of a name as weir.yaml writes it. */
export function dialectOfName(name: string): Dialect | undefined {
  return byName.get(name)?.dialect;
}

/**
 * Chat completions as a provider takes them. Who is not known, and takes the newer name of the output limit, is taken for OpenAI
 * itself.
 */
export function chatCodecOf(
  provider: Pick<ProviderSettings, "id" | "origin" | "usesMaxTokens" | "streamsUsage">,
): Codec {
  const { id, origin, usesMaxTokens, streamsUsage } = provider;
  const traits = vendorTraits(origin, id) ?? (usesMaxTokens ? compatibleTraits : openaiTraits);
  const outputLimit = usesMaxTokens ? "max_tokens" : "max_completion_tokens";
  return createOpenaiChat({ ...traits, outputLimit, streamsUsage });
}
