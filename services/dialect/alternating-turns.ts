import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { approximated } from "./events.ts";

// Of the dialects in which user and assistant take turns, and instructions stand apart from them.

type Speaker = "system" | "user" | "assistant";

export interface Turn<Block> {
  readonly speaker: Speaker;
  readonly blocks: readonly Block[];
  /** Of its first message, in the canonical request. */
  readonly index: number;
}

/** Who says what a role says: the results of tools are the user's. Undefined: the role is not known. */
export function speakerOf(role: Role): Speaker | undefined {
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
      return undefined;
  }
}

/** Joins neighbours of one speaker; turns without a block are left out. */
export function joinTurns<Block>(turns: readonly Turn<Block>[]): Turn<Block>[] {
  const joined: { speaker: Speaker; blocks: Block[]; index: number }[] = [];
  for (const { speaker, blocks, index } of turns) {
    if (blocks.length === 0) continue;
    const last = joined.at(-1);
    if (last?.speaker === speaker) last.blocks.push(...blocks);
    else joined.push({ speaker, blocks: [...blocks], index });
  }
  return joined;
}

/**
 * Takes instructions out of a conversation, in order. Where the model takes them in their place they stay there, behind a turn of the
 * user's and before one of the assistant's or at the end:
 * https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
 * @param turns joined
 * @param warnings gets one for each that has lost its place
 */
export function takeInstructions<Block>(
  turns: readonly Turn<Block>[],
  staysInPlace: boolean,
  warnings: Warning[],
): { readonly system: Block[]; readonly conversation: Turn<Block>[] } {
  const system: Block[] = [];
  const placed = turns.filter(({ speaker, blocks, index }, at) => {
    if (speaker !== "system") return true;
    const mayStay = turns[at - 1]?.speaker === "user" && turns[at + 1]?.speaker !== "user";
    if (mayStay && staysInPlace) return true;
    if (at > 0) warnings.push(approximated(`messages[${index}]`, "It was moved to the instructions at the beginning."));
    system.push(...blocks);
    return false;
  });
  return { system, conversation: joinTurns(placed) };
}
