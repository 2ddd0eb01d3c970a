import { type Media, type Message, type Part, Role, type ToolResult } from "@weir/gen/weir/chat/v1/conversation_pb";
import { writeBase64 } from "../base64.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { argumentsObject } from "./tool-calls.ts";

// A message has one place for reasoning, one for pictures, one for text and one for calls, in this order. Parts in another
// order, or two texts, continue in a further message of the same role, as Ollama's own compatible endpoints have it:
// https://github.com/ollama/ollama/blob/main/openai/openai.go
const order = ["thinking", "images", "content", "tool_calls"] as const;

type Place = (typeof order)[number];

/** Writes a conversation. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeMessages(messages: readonly Message[], omissions: Omissions): JsonObject[] {
  const written: JsonObject[] = [];
  const toolNames = new Map<string, string>();
  for (const [index, message] of messages.entries()) {
    const param = `messages[${index}]`;
    omissions.drop(`${param}.name`, message.name !== "");
    const turn = createTurn(writeRole(message.role, param));
    for (const [at, part] of message.parts.entries()) {
      const path = `${param}.parts[${at}]`;
      omissions.drop(`${path}.cache_control`, part.cacheControl !== undefined);
      if (part.content.case === "toolResult") {
        turn.close();
        turn.written.push(writeResult(part.content.value, toolNames, path, omissions));
        continue;
      }
      if (part.content.case === "toolCall") toolNames.set(part.content.value.id, part.content.value.name);
      writePart(part, path, turn, omissions);
    }
    written.push(...turn.end());
  }
  return written;
}

/** The messages that one turn becomes. */
interface Turn {
  readonly written: JsonObject[];
  /** Puts a value into a place; a further message begins when the place is behind, or holds its one text already. */
  put(place: Place, value: unknown): void;
  /** Ends the message begun. */
  close(): void;
  /** Ends the turn, which is one message at least. */
  end(): JsonObject[];
}

function createTurn(role: string): Turn {
  const written: JsonObject[] = [];
  let message: Record<string, unknown> | undefined;
  let last = -1;

  function close(): void {
    if (message !== undefined) written.push(message);
    message = undefined;
    last = -1;
  }

  return {
    written,
    put(place, value) {
      const at = order.indexOf(place);
      const list = place === "images" || place === "tool_calls";
      if (at < last || (at === last && !list)) close();
      message ??= { role, content: "" };
      last = at;
      const values = message[place];
      if (!list) message[place] = value;
      else if (Array.isArray(values)) values.push(value);
      else message[place] = [value];
    },
    close,
    end() {
      close();
      return written.length === 0 ? [{ role, content: "" }] : written;
    },
  };
}

function writeRole(role: Role, param: string): string {
  switch (role) {
    case Role.SYSTEM:
    case Role.DEVELOPER:
      return "system";
    case Role.USER:
      return "user";
    case Role.ASSISTANT:
      return "assistant";
    case Role.TOOL:
      return "tool";
    default:
      throw unsupported("This message has a role that Ollama does not know.", `${param}.role`);
  }
}

function writePart({ content }: Part, param: string, turn: Turn, omissions: Omissions): void {
  switch (content.case) {
    case "text":
      omissions.drop(`${param}.text.citations`, content.value.citations.length > 0);
      if (content.value.text !== "") turn.put("content", content.value.text);
      return;
    case "refusal":
      if (content.value.text !== "") turn.put("content", content.value.text);
      return;
    case "image":
      turn.put("images", writeImage(content.value, `${param}.image`, omissions));
      return;
    case "reasoning": {
      const { text, signature, sealed, id } = content.value;
      omissions.drop(`${param}.reasoning.signature`, signature.length > 0);
      omissions.drop(`${param}.reasoning.sealed`, sealed.length > 0);
      omissions.drop(`${param}.reasoning.id`, id !== "");
      if (text !== "") turn.put("thinking", text);
      return;
    }
    case "toolCall": {
      const { id, name, arguments: text, signature } = content.value;
      omissions.drop(`${param}.tool_call.signature`, signature.length > 0);
      const object = argumentsObject(text);
      if (object === undefined) {
        throw unsupported(
          "Ollama takes only tool calls whose arguments are a JSON object.",
          `${param}.tool_call.arguments`,
        );
      }
      turn.put("tool_calls", { id, function: { name, arguments: object } });
      return;
    }
    default:
      throw unsupported(
        `Ollama takes no ${content.case === "audio" ? "sound" : "files"}; send text or pictures, or call another model.`,
        param,
      );
  }
}

/** Pictures of a result come before its text, and its texts are joined by line breaks: a result is one message. */
function writeResult(
  { toolCallId, parts, failed }: ToolResult,
  toolNames: ReadonlyMap<string, string>,
  param: string,
  omissions: Omissions,
): JsonObject {
  omissions.drop(`${param}.tool_result.failed`, failed);
  const texts: string[] = [];
  const images: string[] = [];
  for (const [index, part] of parts.entries()) {
    const path = `${param}.tool_result.parts[${index}]`;
    omissions.drop(`${path}.cache_control`, part.cacheControl !== undefined);
    const { content } = part;
    if (content.case === "text") texts.push(content.value.text);
    else if (content.case === "image") images.push(writeImage(content.value, `${path}.image`, omissions));
    else throw unsupported("Ollama takes only text and pictures as the result of a tool.", path);
  }
  const name = toolNames.get(toolCallId);
  return {
    role: "tool",
    content: texts.join("\n"),
    ...(images.length === 0 ? {} : { images }),
    ...(name === undefined ? {} : { tool_name: name }),
    tool_call_id: toolCallId,
  };
}

/** A picture in base64; its bytes say its type. */
function writeImage({ source, detail, filename }: Media, param: string, omissions: Omissions): string {
  if (source.case !== "data") {
    throw unsupported(
      "Ollama fetches no pictures; send the picture itself.",
      `${param}.${source.case === "fileId" ? "file_id" : "url"}`,
    );
  }
  omissions.drop(`${param}.detail`, detail !== "");
  omissions.drop(`${param}.filename`, filename !== "");
  return writeBase64(source.value);
}
