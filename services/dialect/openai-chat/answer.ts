import type { ProviderError, UsageReading } from "../codec.ts";
import { parseObject } from "../json.ts";
import { readProviderError } from "../openai/provider-error.ts";
import { readUsage } from "../openai/usage.ts";
import { choicesTextBytes, readReplyId } from "./chunk.ts";

/** What a provider's JSON body turned out to be. */
export type ChatAnswer =
  | {
      readonly kind: "answer";
      readonly usage: UsageReading | undefined;
      /** A guess at the output tokens, by its bytes: for providers that report none. */
      readonly outputTokens: number;
      readonly replyId: string;
    }
  /** A JSON object that reports an error, whatever the status was. */
  | { readonly kind: "error"; readonly error: ProviderError; readonly hasErrorMember: boolean }
  /** Neither; HTML, say. */
  | { readonly kind: "malformed" };

/** Reads the body of an answer that is not a stream, or of a refusal. */
export function readChatAnswer(body: Buffer): ChatAnswer {
  const json = parseObject(body.toString("latin1")); // a character for each byte: all that is read here is ASCII
  if (json === undefined) return { kind: "malformed" };
  const error = readProviderError(json);
  if (error !== undefined) return { kind: "error", error, hasErrorMember: json["error"] != null };
  if (!Array.isArray(json["choices"])) return { kind: "malformed" };
  return {
    kind: "answer",
    usage: readUsage(json["usage"], json["service_tier"]),
    outputTokens: Math.ceil(choicesTextBytes(json["choices"]) / 4),
    replyId: readReplyId(json),
  };
}
