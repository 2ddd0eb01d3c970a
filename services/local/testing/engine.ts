import { create } from "@bufbuild/protobuf";
import { type LocalConfig, LocalConfigSchema } from "@weir/gen/weir/config/v1/provider_pb";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { systemClock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { Llama } from "node-llama-cpp";
import { createEngine, type Engine } from "../engine.ts";
import { readModelFile } from "../llama.ts";
import { settingsOf } from "../settings.ts";

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** An engine on one thread, so that tests run beside each other. */
export async function engineOf(llama: Llama, config: Partial<Omit<LocalConfig, "$typeName">>): Promise<Engine> {
  const settings = settingsOf(create(LocalConfigSchema, { threads: 1, sequences: 2, contextTokens: 512, ...config }));
  const files = new Map(
    await Promise.all(
      [...settings.files].map(async ([name, path]) => [name, await readModelFile(llama, path, settings)] as const),
    ),
  );
  return createEngine({ llama, settings, files, clock: systemClock, log: silentLog });
}

/** A chat request, by its body in OpenAI's dialect; short and always the same unless told otherwise. */
export function chat(members: Readonly<Record<string, unknown>> = {}): GenerateRequest {
  const messages = [{ role: "user", content: "hello" }];
  return openaiChat.readRequest({ model: "tiny", messages, max_tokens: 16, seed: 7, ...members });
}

/** A whole reply: its text, why it ended, and what it used. */
export interface Answer {
  readonly text: string;
  readonly pieces: number;
  readonly reason: number | undefined;
  readonly stopSequence: string | undefined;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
}

/** Reads a reply to its end. */
export async function answerOf(events: AsyncIterable<GenerateEvent>): Promise<Answer> {
  const pieces: string[] = [];
  let end: Omit<Answer, "text" | "pieces"> | undefined;
  for await (const { kind } of events) {
    if (kind.case === "delta" && kind.value.content.case === "text") pieces.push(kind.value.content.value);
    if (kind.case !== "end") continue;
    const [choice] = kind.value.choices;
    const { inputTokens, outputTokens } = kind.value.usage ?? {};
    end = { reason: choice?.reason, stopSequence: choice?.stopSequence, inputTokens, outputTokens };
  }
  if (end === undefined) throw new Error("the reply has no end");
  return { text: pieces.join(""), pieces: pieces.length, ...end };
}
