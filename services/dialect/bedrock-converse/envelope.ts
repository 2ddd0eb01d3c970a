import type { Envelope } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { invalid } from "./faults.ts";
import { readList, readOptionalInteger, readRecord } from "./members.ts";

const outputTokensMax = 10_000_000;
const roles: ReadonlySet<unknown> = new Set(["user", "assistant", "system"]);

/**
 * Reads what limits and routing need. A conversation may be absent: a prompt that Bedrock keeps may bring its own.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  if (body["messages"] != null) checkMessages(body["messages"]);
  const inference = body["inferenceConfig"];
  const maxTokens = inference == null ? undefined : readRecord(inference, "inferenceConfig")["maxTokens"];
  const maxOutputTokens = readOptionalInteger(maxTokens, outputTokensMax, "inferenceConfig.maxTokens");
  return { includeUsage: true, choiceCount: 1, ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }) };
}

function checkMessages(value: unknown): void {
  for (const [index, message] of readList(value, "messages").entries()) {
    const param = `messages[${index}]`;
    if (!roles.has(readRecord(message, param)["role"])) {
      throw invalid("`role` must be `user`, `assistant` or `system`.", `${param}.role`);
    }
  }
}
