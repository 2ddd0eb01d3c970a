import { ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect } from "vitest";
import type { Cell } from "../cell.ts";
import { answered, type Feature, inBothForms, type Outcome } from "../outcome.ts";
import { jsonOf, partsOf, textsOf } from "../served.ts";
import {
  callsReply,
  instructions,
  place,
  placeReply,
  placeSchema,
  question,
  reasoningReply,
  spoken,
  spokenAgain,
  textReply,
  thoughts,
  timeCall,
  tools,
  twoReplies,
  weatherCall,
} from "../speech.ts";

// What comes from the vendor arrives at the user.

const user = { kind: "user", text: question } as const;

/** A whole answer that is text. */
export const text: Feature = (cell) => says(cell, false);

/** A stream of text, which arrives in pieces. */
export const stream: Feature = (cell) => says(cell, true);

async function says(cell: Cell, asStream: boolean): Promise<Outcome> {
  const prepared = cell.prepare({ kind: "answer", events: textReply() });
  const pieces: string[] = [];
  const seen = await prepared.ask({ stream: asStream, turns: [user], onText: (piece) => pieces.push(piece) });
  expect(seen).toMatchObject({ text: spoken, reasoning: "", calls: [], end: cell.client.ends.text });
  if (asStream) {
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join("")).toBe(spoken);
  }
  const [call, ...others] = prepared.calls();
  expect(call?.stream).toBe(asStream);
  expect(textsOf(partsOf(call?.request))).toEqual([question]);
  expect(others).toEqual([]);
  return answered(seen);
}

/** A call of a tool after a text. */
export const toolCall = calls([weatherCall], {});

/** Two calls in one reply, one of them without arguments. */
export const parallelCalls = calls([weatherCall, timeCall], {});

/** A call that the user demands. */
export const demandedCall = calls([timeCall], { mustCall: true });

function calls(
  made: readonly { readonly name: string; readonly input: object }[],
  demand: { readonly mustCall?: true },
): Feature {
  return inBothForms(async (cell, asStream) => {
    const prepared = cell.prepare({ kind: "answer", events: callsReply(made) });
    const seen = await prepared.ask({ stream: asStream, system: instructions, turns: [user], tools, ...demand });
    expect(seen).toMatchObject({ text: spoken, calls: made, end: cell.client.ends.calls });
    expect(new Set(seen.calls.map(({ id }) => id)).size).toBe(made.length);
    const [call] = prepared.calls();
    const declared = call?.request.tools.map(({ kind }) =>
      kind.case === "function"
        ? {
            name: kind.value.name,
            description: kind.value.description,
            parameters: jsonOf(kind.value.parametersSchema),
          }
        : kind,
    );
    expect(declared).toEqual(tools);
    expect(textsOf(partsOf(call?.request))).toEqual([instructions, question]);
    expect(call?.request.toolChoice?.mode === ToolChoice_Mode.REQUIRED).toBe(demand.mustCall === true);
    return answered(seen);
  });
}

/** JSON after a schema. */
export const jsonSchema: Feature = inBothForms(async (cell, asStream) => {
  const prepared = cell.prepare({ kind: "answer", events: placeReply() });
  const seen = await prepared.ask({ stream: asStream, turns: [user], schema: placeSchema });
  expect(JSON.parse(seen.text)).toEqual(place);
  expect(seen).toMatchObject({ calls: [], end: cell.client.ends.text });
  const kind = prepared.calls()[0]?.request.outputFormat?.kind;
  expect(kind?.case === "jsonSchema" ? jsonOf(kind.value.schema) : kind).toEqual(placeSchema);
  return answered(seen);
});

/** An effort to think, and what was thought. */
export const reasoning: Feature = inBothForms(async (cell, asStream) => {
  const prepared = cell.prepare({ kind: "answer", events: reasoningReply() });
  const seen = await prepared.ask({ stream: asStream, turns: [user], effort: "high" });
  expect(prepared.calls()[0]?.request.reasoning?.effort).toBe("high");
  expect(seen).toMatchObject({ reasoning: thoughts, text: spoken, end: cell.client.ends.text });
  return answered(seen);
});

/** Two replies to one question. */
export const severalReplies: Feature = inBothForms(async (cell, asStream) => {
  const prepared = cell.prepare({ kind: "answer", events: twoReplies() });
  const seen = await prepared.ask({ stream: asStream, turns: [user], replies: 2 });
  expect(prepared.calls()[0]?.request.choiceCount).toBe(2);
  expect(seen).toMatchObject({ text: spoken, others: [spokenAgain] });
  return answered(seen);
});
