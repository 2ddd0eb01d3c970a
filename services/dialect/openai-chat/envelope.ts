import type { WeirError } from "@weir/kit/weir-error";
import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readFlag, readText, readWhole } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { tierOfRequest } from "../service-tier.ts";

const modelLengthMax = 512;
const userLengthMax = 256;
const outputTokensMax = 10_000_000;
const choicesMax = 128;

const roles: ReadonlySet<unknown> = new Set(["system", "developer", "user", "assistant", "tool", "function"]);

/** An envelope of this dialect, which names model and stream in the body. */
export interface ChatEnvelope extends Envelope {
  readonly model: string;
  readonly stream: boolean;
  /**
   * Most output tokens over all choices: the larger of `max_completion_tokens` and `max_tokens`, times `n`. Absent: the
   * model's own limit.
   */
  readonly maxOutputTokens?: number;
  /** The end user: `safety_identifier`, else `user`. */
  readonly user?: string;
}

/**
 * Reads what limits and routing need. Of the messages only their shape and roles are checked.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): ChatEnvelope {
  const model = readModel(body["model"]);
  checkMessages(body["messages"]);
  const stream = readFlag(body["stream"], "stream") ?? false;
  const includeUsage = readIncludeUsage(body["stream_options"]);
  const choiceCount = readChoiceCount(body) ?? 1;
  const perChoice = Math.max(readTokens(body, "max_tokens") ?? 0, readTokens(body, "max_completion_tokens") ?? 0);
  const user = readUser(body, "safety_identifier") ?? readUser(body, "user");
  const serviceTier = tierOfRequest(body["service_tier"]);
  return {
    model,
    stream,
    includeUsage,
    ...(perChoice > 0 ? { maxOutputTokens: perChoice * choiceCount } : {}),
    choiceCount,
    ...(user === undefined ? {} : { user }),
    ...(serviceTier === undefined ? {} : { serviceTier }),
  };
}

/** How many choices to make; undefined when the body does not say. */
export function readChoiceCount(body: JsonObject): number | undefined {
  return readWhole(body["n"], "n", 1, choicesMax);
}

/** An output limit in tokens. */
export function readTokens(body: JsonObject, name: "max_tokens" | "max_completion_tokens"): number | undefined {
  return readWhole(body[name], name, 1, outputTokensMax);
}

/** The end user; undefined when empty. */
export function readUser(body: JsonObject, name: "safety_identifier" | "user"): string | undefined {
  const user = readText(body[name], name, userLengthMax);
  return user === "" ? undefined : user;
}

/** The error for a body that names no model. */
export function missingModel(): WeirError {
  return invalid("`model` is missing; name the model to call.", "model");
}

function readModel(value: unknown): string {
  if (value === undefined) throw missingModel();
  if (typeof value !== "string" || value === "") throw invalid("`model` must be a text that is not empty.", "model");
  if (value.length > modelLengthMax) throw invalid(`\`model\` is longer than ${modelLengthMax} characters.`, "model");
  return value;
}

function checkMessages(value: unknown): void {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid("`messages` must be a list of at least one message.", "messages");
  }
  for (let index = 0; index < value.length; index += 1) {
    const message: unknown = value[index];
    if (!isObject(message)) throw invalid("A message must be an object.", `messages[${index}]`);
    if (!roles.has(message["role"])) {
      throw invalid(
        "`role` must be `system`, `developer`, `user`, `assistant`, `tool` or `function`.",
        `messages[${index}].role`,
      );
    }
  }
}

function readIncludeUsage(value: unknown): boolean {
  if (value == null) return false;
  if (!isObject(value)) throw invalid("`stream_options` must be an object.", "stream_options");
  return readFlag(value["include_usage"], "stream_options.include_usage") ?? false;
}
