import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { ollama } from "@weir/dialect/ollama/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiCompletions } from "@weir/dialect/openai-completions/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { weirChat } from "@weir/dialect/weir-chat/codec";
import { weirGenerate } from "@weir/dialect/weir-generate/codec";
import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";

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
