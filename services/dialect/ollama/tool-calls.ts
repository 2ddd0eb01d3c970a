import { createHash } from "node:crypto";
import { isObject, parseObject, rawJson, writeJson } from "../json.ts";

/**
 * The arguments of a call as the object that this dialect has, for `writeJson`; digits and spaces stay as they are.
 * @param text JSON text; empty stands for no arguments
 * @returns undefined when the text is no JSON object
 */
export function argumentsObject(text: string): unknown {
  if (text.trim() === "") return {};
  return parseObject(text) === undefined ? undefined : rawJson(text);
}

/** The arguments of a call as text. A server in between may send them as text already. */
export function argumentsText(value: unknown): string {
  if (typeof value === "string") return value;
  return isObject(value) ? writeJson(value) : "{}";
}

/**
 * An id for a call of an answer whose server gave none, as servers before 0.12.10 do: another one in each answer, so that
 * the calls of a conversation differ, and the same one for the same bytes.
 * @param answerTime `created_at` as the server wrote it
 * @param index of the call in its answer
 */
export function answerCallId(answerTime: string, index: number, name: string, text: string): string {
  const hash = createHash("sha256").update(JSON.stringify([answerTime, index, name, text]));
  return `call_${hash.digest("hex").slice(0, 24)}`;
}

/** An id for a call of an earlier turn, by where it stands in the conversation. */
export function historyCallId(message: number, index: number): string {
  return `call_${message}_${index}`;
}
