import { type Message, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { approximated } from "../events.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { createDocumentNames } from "./document-names.ts";
import type { Model } from "./model.ts";
import { type Blocks, type Scope, writeParts } from "./parts-writer.ts";
import { dropped } from "./warnings.ts";

/** A conversation in this dialect. */
interface Conversation {
  readonly system: readonly JsonObject[];
  readonly messages: readonly JsonObject[];
}

type Speaker = "system" | "user" | "assistant";

interface Turn {
  readonly speaker: Speaker;
  readonly content: readonly Blocks[];
  /** Of its first message, in the canonical request. */
  readonly index: number;
}

/**
 * Writes a conversation. Neighbours of one role become one turn, since Bedrock wants turns to alternate; the results of
 * tools are the user's, and come first. Instructions at the beginning are `system`. Later ones stay in their place where
 * the model takes them, behind a turn of the user's and before one of the assistant's or at the end; elsewhere they join
 * `system`, with a warning.
 * https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
 * @param warnings gets what was left out
 */
export function writeConversation(messages: readonly Message[], model: Model, warnings: Warning[]): Conversation {
  const scope: Scope = { model, names: createDocumentNames(), warnings };
  const turns = joinTurns(messages.map((message, index) => writeMessage(message, index, scope)));
  const system: Blocks[] = [];
  const placed = turns.filter(({ speaker, content, index }, at) => {
    if (speaker !== "system") return true;
    const mayStay = turns[at - 1]?.speaker === "user" && turns[at + 1]?.speaker !== "user";
    if (mayStay && model.traits.systemMessages) return true;
    if (at > 0) warnings.push(approximated(`messages[${index}]`, "It was moved to the instructions at the beginning."));
    system.push(...content);
    return false;
  });
  return {
    system: system.flat(),
    messages: joinTurns(placed).map(({ speaker, content }) => ({ role: speaker, content: ordered(content).flat() })),
  };
}

function writeMessage(message: Message, index: number, scope: Scope): Turn {
  const param = `messages[${index}]`;
  const speaker = speakerOf(message.role, param);
  if (message.name !== "") scope.warnings.push(dropped(`${param}.name`));
  const content = writeParts(message.parts, param, scope);
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_SystemContentBlock.html
  if (speaker === "system" && !content.every(([block]) => block !== undefined && "text" in block)) {
    throw unsupported("Bedrock takes nothing but text as instructions.", `${param}.parts`);
  }
  return { speaker, content, index };
}

function speakerOf(role: Role, param: string): Speaker {
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
      throw unsupported("Bedrock knows no such role.", `${param}.role`);
  }
}

/** Joins neighbours of one speaker; turns that say nothing are left out. */
function joinTurns(turns: readonly Turn[]): Turn[] {
  const joined: Turn[] = [];
  for (const turn of turns) {
    if (turn.content.length === 0) continue;
    const last = joined.at(-1);
    if (last?.speaker === turn.speaker) joined.splice(-1, 1, { ...last, content: [...last.content, ...turn.content] });
    else joined.push(turn);
  }
  return joined;
}

/** Results of tools first, as models demand. */
function ordered(content: readonly Blocks[]): readonly Blocks[] {
  const isResult = ([block]: Blocks) => block !== undefined && "toolResult" in block;
  return [...content.filter(isResult), ...content.filter((blocks) => !isResult(blocks))];
}
