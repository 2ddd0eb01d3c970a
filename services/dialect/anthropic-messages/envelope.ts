import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readFlag, readObject, readText, readWhole, required } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";

const modelLengthMax = 512;
const userLengthMax = 256;
const outputTokensMax = 10_000_000;
const messagesMax = 100_000;

const roles: ReadonlySet<unknown> = new Set(["user", "assistant", "system"]);

/** An envelope of this dialect, which names model and stream in the body. */
export interface MessagesEnvelope extends Envelope {
  readonly model: string;
  readonly stream: boolean;
  /** `max_tokens`. Absent in requests that only count tokens. 0 asks for no reply: it fills the vendor's prompt cache. */
  readonly maxOutputTokens?: number;
  /** `metadata.user_id`. */
  readonly user?: string;
}

/**
 * Reads what limits and routing need, of a request for a message or for a count of tokens. Of the messages only their shape
 * and roles are checked.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): MessagesEnvelope {
  const model = required(readText(body["model"], "model", modelLengthMax), "model");
  if (model === "") throw invalid("`model` must not be empty; name the model to call.", "model");
  checkMessages(body["messages"]);
  const stream = readFlag(body["stream"], "stream") ?? false;
  const maxOutputTokens = readWhole(body["max_tokens"], "max_tokens", 0, outputTokensMax);
  const metadata = readObject(body["metadata"], "metadata");
  const user = readText(metadata?.["user_id"], "metadata.user_id", userLengthMax);
  return {
    model,
    stream,
    includeUsage: true,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    choiceCount: 1,
    ...(user === undefined || user === "" ? {} : { user }),
  };
}

function checkMessages(value: unknown): void {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid("`messages` must be a list of at least one message.", "messages");
  }
  if (value.length > messagesMax) throw invalid(`\`messages\` may hold at most ${messagesMax} messages.`, "messages");
  for (let index = 0; index < value.length; index += 1) {
    const message: unknown = value[index];
    if (!isObject(message)) throw invalid("A message must be an object.", `messages[${index}]`);
    if (!roles.has(message["role"])) {
      throw invalid("`role` must be `user`, `assistant` or `system`.", `messages[${index}].role`);
    }
  }
}
