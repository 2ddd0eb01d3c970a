import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readWhole, requiredList, requiredObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";

const outputTokensMax = 10_000_000;
const roles: ReadonlySet<unknown> = new Set(["user", "assistant", "system"]);

/**
 * Reads what limits and routing need. A conversation may be absent: a prompt that Bedrock keeps may bring its own.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  if (body["messages"] != null) checkMessages(body["messages"]);
  const inference = body["inferenceConfig"];
  const maxTokens = inference == null ? undefined : requiredObject(inference, "inferenceConfig")["maxTokens"];
  const maxOutputTokens = readWhole(maxTokens, "inferenceConfig.maxTokens", 1, outputTokensMax);
  return { includeUsage: true, choiceCount: 1, ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }) };
}

function checkMessages(value: unknown): void {
  for (const [index, message] of requiredList(value, "messages").entries()) {
    const param = `messages[${index}]`;
    if (!roles.has(requiredObject(message, param)["role"])) {
      throw invalid("`role` must be `user`, `assistant` or `system`.", `${param}.role`);
    }
  }
}
