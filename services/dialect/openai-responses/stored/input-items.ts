import { createHash } from "node:crypto";
import { isObject, type JsonObject, parseExact } from "../../json.ts";

/** Which of the items that led to a response are asked for. */
export interface ItemPage {
  readonly order: "asc" | "desc";
  /** 1 to 100. */
  readonly limit: number;
  /** The item after which to begin, in that order. */
  readonly after: string | undefined;
}

/** The items of an input as the vendor lists them: https://platform.openai.com/docs/api-reference/responses/input-items */
export interface ItemList {
  readonly object: "list";
  readonly data: readonly JsonObject[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/**
 * Items as they are listed: each with an id of its own, messages with their parts. An item keeps the id that it came with, unless
 * another before it has the same; ids that are made depend on the response and the item's place alone.
 * @param input the JSON list of items
 */
export function listItems(responseId: string, input: Buffer): JsonObject[] {
  const items = parseExact(`{"input":${input.toString()}}`)?.["input"];
  const stem = createHash("sha256").update(responseId).digest("hex").slice(0, 32);
  const taken = new Set<unknown>();
  return (Array.isArray(items) ? (items as readonly unknown[]) : []).filter(isObject).map((item, index) => {
    const shown = asListed(item);
    const { type } = shown;
    const isOwn = typeof shown["id"] === "string" && shown["id"] !== "" && !taken.has(shown["id"]);
    const id = isOwn ? shown["id"] : `${prefixes.get(type) ?? "item"}_${stem}${index.toString(16).padStart(4, "0")}`;
    taken.add(id);
    return { ...shown, id };
  });
}

/** What ids begin with, as the vendor's do. */
const prefixes: ReadonlyMap<unknown, string> = new Map([
  ["message", "msg"],
  ["reasoning", "rs"],
  ["function_call", "fc"],
  ["function_call_output", "fco"],
  ["custom_tool_call", "ctc"],
  ["custom_tool_call_output", "ctco"],
]);

function asListed(item: JsonObject): JsonObject {
  const { content, role } = item;
  if (item["type"] !== undefined && item["type"] !== "message") return item;
  if (role === undefined) return item;
  const kind = role === "assistant" ? "output_text" : "input_text";
  const extra = role === "assistant" ? { annotations: [] } : {};
  const parts = typeof content === "string" ? [{ type: kind, text: content, ...extra }] : content;
  return { status: "completed", ...item, type: "message", content: parts };
}

/** A page of items; undefined when the one to begin after is not among them. */
export function pageOf(items: readonly JsonObject[], { order, limit, after }: ItemPage): ItemList | undefined {
  const ordered = order === "asc" ? items : items.toReversed();
  const afterIndex = after === undefined ? -1 : ordered.findIndex((item) => item["id"] === after);
  if (after !== undefined && afterIndex < 0) return undefined;
  const data = ordered.slice(afterIndex + 1, afterIndex + 1 + limit);
  return {
    object: "list",
    data,
    first_id: idOf(data[0]),
    last_id: idOf(data.at(-1)),
    has_more: afterIndex + 1 + limit < ordered.length,
  };
}

function idOf(item: JsonObject | undefined): string | null {
  const id = item?.["id"];
  return typeof id === "string" ? id : null;
}
