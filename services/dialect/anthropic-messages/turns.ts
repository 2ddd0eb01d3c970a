import { type Message, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { ModelTraits } from "../claude/traits.ts";
import { approximated } from "../events.ts";
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

type Speaker = "system" | "user" | "assistant";

interface Turn {
  readonly speaker: Speaker;
  readonly blocks: JsonObject[];
  /** Of its first message, in the canonical request. */
  readonly index: number;
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
  const system: JsonObject[] = [];
  const placed = turns.filter(({ speaker, blocks, index }, at) => {
    if (speaker !== "system") return true;
    const mayStay = turns[at - 1]?.speaker === "user" && turns[at + 1]?.speaker !== "user";
    if (mayStay && traits.systemMessages) return true;
    if (at > 0) warnings.push(approximated(`messages[${index}]`, "It was moved to the instructions at the beginning."));
    system.push(...blocks);
    return false;
  });
  if (placed.length === 0) throw unsupported("The target needs a message that is not empty.", "messages");
  return {
    messages: joinTurns(placed).map(({ speaker, blocks }) => ({
      role: speaker,
      content: shorten(speaker === "user" ? resultsFirst(blocks) : blocks),
    })),
    ...(system.length === 0 ? {} : { system: shorten(system) }),
  };
}

function writeMessage(message: Message, index: number, warnings: Warning[]): Turn {
  const speaker = speakerOf(message.role, index);
  if (message.name !== "") warnings.push(dropped(`messages[${index}].name`));
  return { speaker, blocks: writeParts(message.parts, `messages[${index}].parts`, speaker, warnings), index };
}

function speakerOf(role: Role, index: number): Speaker {
  switch (role) {
    case Role.SYSTEM:
    case Role.DEVELOPER:
      return "system";
    case Role.USER:
    case Role.TOOL:
      return "user";
    case Role.ASSISTANT:
      return "assistant";
    default:
      throw unsupported("The target knows no such role.", `messages[${index}].role`);
  }
}

/** Joins neighbours of one speaker; turns without a block are left out. */
function joinTurns(turns: readonly Turn[]): Turn[] {
  const joined: Turn[] = [];
  for (const turn of turns) {
    if (turn.blocks.length === 0) continue;
    const last = joined.at(-1);
    if (last?.speaker === turn.speaker) last.blocks.push(...turn.blocks);
    else joined.push({ ...turn, blocks: [...turn.blocks] });
  }
  return joined;
}

function resultsFirst(blocks: readonly JsonObject[]): JsonObject[] {
  const isResult = (block: JsonObject) => block["type"] === "tool_result";
  return [...blocks.filter(isResult), ...blocks.filter((block) => !isResult(block))];
}
