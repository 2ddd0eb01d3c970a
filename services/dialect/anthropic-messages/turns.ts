import type { Message } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { joinTurns, speakerOf, takeInstructions, type Turn } from "../alternating-turns.ts";
import type { ModelTraits } from "../claude/traits.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { shorten, writeParts } from "./content-writer.ts";
import { dropped } from "./warnings.ts";

/** A conversation in this dialect. */
export interface Turns {
  readonly messages: readonly JsonObject[];
  /** Absent: no instructions. */
  readonly system?: unknown;
}

/**
 * Writes messages as turns: neighbours of one role become one turn, and the results of tools come first in theirs, as the
 * vendor demands. Instructions at the beginning become `system`. Later ones stay in their place where the vendor lets them:
 * after a turn of the user's, and before one of the assistant's or at the end. Elsewhere, and for models that know no such
 * messages, they are added to `system`, with a warning.
 * https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
 */
export function writeTurns(messages: readonly Message[], traits: ModelTraits, warnings: Warning[]): Turns {
  const turns = joinTurns(messages.map((message, index) => writeMessage(message, index, warnings)));
  const { system, conversation } = takeInstructions(turns, traits.systemMessages, warnings);
  if (conversation.length === 0) throw unsupported("The target needs a message that is not empty.", "messages");
  return {
    messages: conversation.map(({ speaker, blocks }) => ({
      role: speaker,
      content: shorten(speaker === "user" ? resultsFirst(blocks) : blocks),
    })),
    ...(system.length === 0 ? {} : { system: shorten(system) }),
  };
}

function writeMessage({ role, name, parts }: Message, index: number, warnings: Warning[]): Turn<JsonObject> {
  const param = `messages[${index}]`;
  const speaker = speakerOf(role);
  if (speaker === undefined) throw unsupported("The target knows no such role.", `${param}.role`);
  if (name !== "") warnings.push(dropped(`${param}.name`));
  return { speaker, blocks: writeParts(parts, `${param}.parts`, speaker, warnings), index };
}

function resultsFirst(blocks: readonly JsonObject[]): JsonObject[] {
  const isResult = (block: JsonObject) => block["type"] === "tool_result";
  return [...blocks.filter(isResult), ...blocks.filter((block) => !isResult(block))];
}
