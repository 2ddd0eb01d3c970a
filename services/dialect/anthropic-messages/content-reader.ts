import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PartSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readInput } from "../claude/tool-input.ts";
import { invalid, untranslatable } from "../faults.ts";
import {
  readFlag,
  readList,
  readObject,
  readText,
  refuseUnknown,
  required,
  requiredObject,
  requiredText,
} from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readCacheControl } from "./cache-control.ts";
import { codePoints, readCitation } from "./citations.ts";
import { readDocument, readImage } from "./media.ts";
import { type CallSignature, readRedacted, readThinking } from "./sealed.ts";

/** A part that is not yet a message of protobuf-es. */
export type PartInit = MessageInitShape<typeof PartSchema>;
type PartContent = NonNullable<PartInit["content"]>;

/** Where content stands; each place takes other types of blocks. */
export type Place = "system" | "user" | "assistant" | "tool_result";

interface BlockRule {
  readonly places: readonly Place[];
  readonly members: ReadonlySet<string>;
  /** What a block says; undefined when it says nothing of its own. */
  read(block: JsonObject, param: string, calls: CallSignature[]): PartContent | undefined;
}

const everywhere: readonly Place[] = ["system", "user", "assistant", "tool_result"];
const outsideSystem: readonly Place[] = ["user", "assistant", "tool_result"];

// Types that are not here, those of tools that the vendor runs among them, say what no other vendor could be told.
const rules: ReadonlyMap<string, BlockRule> = new Map<string, BlockRule>([
  [
    "text",
    { places: everywhere, members: new Set(["type", "text", "citations", "cache_control"]), read: readTextBlock },
  ],
  [
    "image",
    {
      places: outsideSystem,
      members: new Set(["type", "source", "transformations", "cache_control"]),
      read: (block, param) => ({ case: "image", value: readImage(block, param) }),
    },
  ],
  [
    "document",
    {
      places: outsideSystem,
      members: new Set(["type", "source", "title", "context", "citations", "cache_control"]),
      read: (block, param) => ({ case: "file", value: readDocument(block, param) }),
    },
  ],
  [
    "tool_use",
    {
      places: ["assistant"],
      members: new Set(["type", "id", "name", "input", "caller", "cache_control"]),
      read: readToolUse,
    },
  ],
  [
    "tool_result",
    {
      places: ["user"],
      members: new Set(["type", "tool_use_id", "content", "is_error", "cache_control"]),
      read: readToolResult,
    },
  ],
  ["thinking", { places: ["assistant"], members: new Set(["type", "thinking", "signature"]), read: readThinkingBlock }],
  ["redacted_thinking", { places: ["assistant"], members: new Set(["type", "data"]), read: readRedactedBlock }],
]);

/** Reads content: a text or a list of blocks. */
export function readContent(value: unknown, param: string, place: Place): PartInit[] {
  if (typeof value === "string") return value === "" ? [] : [{ content: { case: "text", value: { text: value } } }];
  const calls: CallSignature[] = [];
  const parts: PartInit[] = [];
  for (const [index, item] of (readList(value, param) ?? []).entries()) {
    const part = readBlock(requiredObject(item, `${param}[${index}]`), `${param}[${index}]`, place, calls);
    if (part !== undefined) parts.push(part);
  }
  for (const { callId, signature } of calls) {
    for (const { content } of parts) {
      if (content?.case === "toolCall" && content.value.id === callId) content.value.signature = signature;
    }
  }
  return parts;
}

function readBlock(block: JsonObject, param: string, place: Place, calls: CallSignature[]): PartInit | undefined {
  const type = requiredText(block["type"], `${param}.type`);
  const rule = rules.get(type);
  if (rule === undefined) {
    throw untranslatable(
      "A block of this type cannot be translated for another provider; leave it out.",
      `${param}.type`,
    );
  }
  if (!rule.places.includes(place)) throw invalid("A block of this type cannot stand here.", `${param}.type`);
  refuseUnknown(block, rule.members, param);
  const content = rule.read(block, param, calls);
  const cacheControl = readCacheControl(block["cache_control"], `${param}.cache_control`);
  if (content === undefined) return undefined;
  return cacheControl === undefined ? { content } : { content, cacheControl };
}

function readTextBlock(block: JsonObject, param: string): PartContent {
  const text = required(readText(block["text"], `${param}.text`), `${param}.text`);
  const citations = (readList(block["citations"], `${param}.citations`) ?? []).map((item, index) => {
    const path = `${param}.citations[${index}]`;
    return readCitation(holdJson(requiredObject(item, path), path), codePoints(text));
  });
  return { case: "text", value: { text, citations } };
}

function readToolUse(block: JsonObject, param: string): PartContent {
  const caller = readObject(block["caller"], `${param}.caller`);
  if ((caller?.["type"] ?? "direct") !== "direct") {
    throw untranslatable("A call by a tool of the provider cannot be translated.", `${param}.caller`);
  }
  const id = requiredText(block["id"], `${param}.id`);
  const name = requiredText(block["name"], `${param}.name`);
  return {
    case: "toolCall",
    value: { id, name, arguments: readInput(requiredObject(block["input"], `${param}.input`)) },
  };
}

function readToolResult(block: JsonObject, param: string): PartContent {
  return {
    case: "toolResult",
    value: {
      toolCallId: requiredText(block["tool_use_id"], `${param}.tool_use_id`),
      parts: readContent(block["content"], `${param}.content`, "tool_result"),
      failed: readFlag(block["is_error"], `${param}.is_error`) ?? false,
    },
  };
}

function readThinkingBlock(block: JsonObject, param: string): PartContent {
  const text = required(readText(block["thinking"], `${param}.thinking`), `${param}.thinking`);
  const signature = readText(block["signature"], `${param}.signature`) ?? "";
  return { case: "reasoning", value: readThinking(text, signature) };
}

function readRedactedBlock(block: JsonObject, param: string, calls: CallSignature[]): PartContent | undefined {
  const redacted = readRedacted(required(readText(block["data"], `${param}.data`), `${param}.data`));
  if (!("callId" in redacted)) return { case: "reasoning", value: redacted };
  calls.push(redacted);
  return undefined;
}
