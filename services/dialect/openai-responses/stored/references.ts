import { invalid } from "../../faults.ts";
import { isObject, type JsonObject, parseExact, writeJson } from "../../json.ts";
import { outputAsInput } from "../output-as-input.ts";

// An item of an input may be nothing but the id of an item that an earlier response had
// (https://platform.openai.com/docs/api-reference/responses/create#responses-create-input). Vercel's AI SDK sends all of a conversation
// but the user's words in this way unless it is told that nothing is stored. An item that is sent back whole may name what its provider
// keeps: the container in which its code ran, the picture that it has no bytes of. It counts as a reference, too.

const reference = "item_reference";
const code = "code_interpreter_call";
const picture = "image_generation_call";
const marks = [reference, code, picture];
const referencesMax = 1_000;

/**
 * The ids of the items that an input refers to; as a rule one search of its bytes.
 * @param input the JSON value of `input`
 * @throws WeirError INVALID_REQUEST with `param`, when there are more than a thousand, or one stands twice: a small input could name a large
 * item without end
 */
export function referencesIn(input: Buffer): readonly string[] {
  if (!marks.some((mark) => input.includes(mark))) return [];
  const ids = itemsOf(input).flatMap((item) => idOf(item) ?? []);
  if (ids.length > referencesMax) {
    throw invalid(`\`input\` refers to more than ${referencesMax} items; send some of them whole.`, "input");
  }
  if (new Set(ids).size < ids.length) throw invalid("`input` refers to an item more than once.", "input");
  return ids;
}

/**
 * Items of some outputs as a request may repeat them, by their ids. Of two with one id it is that of the earlier output.
 * @param outputs JSON lists of output items
 */
export function itemsById(outputs: readonly Uint8Array[]): ReadonlyMap<string, JsonObject> {
  const items = new Map<string, JsonObject>();
  for (const output of outputs) {
    for (const item of outputAsInput({ output: itemsOf(Buffer.from(output)) })) {
      const { id } = item;
      if (typeof id === "string" && !items.has(id)) items.set(id, item);
    }
  }
  return items;
}

/** An input of which some references are known. */
export interface ResolvedInput {
  /** With what they refer to in their places. */
  readonly whole: Buffer;
  /** Without them. */
  readonly rest: Buffer;
}

/** @param input the JSON value of `input`, a list */
export function resolveReferences(input: Buffer, known: ReadonlyMap<string, JsonObject>): ResolvedInput {
  const items = itemsOf(input);
  const foundFor = (item: unknown) => known.get(idOf(item) ?? "");
  return {
    whole: Buffer.from(writeJson(items.map((item) => foundFor(item) ?? item))),
    rest: Buffer.from(writeJson(items.filter((item) => foundFor(item) === undefined))),
  };
}

function itemsOf(list: Buffer): readonly unknown[] {
  const items = parseExact(`{"items":${list.toString()}}`)?.["items"];
  return Array.isArray(items) ? items : [];
}

function idOf(item: unknown): string | undefined {
  if (!isObject(item)) return undefined;
  const { id, type, result } = item;
  if (type !== reference && type !== code && (type !== picture || (result ?? "") !== "")) return undefined;
  return typeof id === "string" && id !== "" && id.length <= 256 ? id : undefined;
}
