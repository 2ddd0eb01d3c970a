import { invalid } from "../../faults.ts";
import { scanMembers } from "../../json-scan.ts";
import { isObject, parseExact, writeJson } from "../../json.ts";
import { outputAsInput } from "../output-as-input.ts";
import { referencesIn } from "./references.ts";
import { depthMax, withMembers } from "./splice.ts";

/** What a request asks of stored state. */
export interface StoredRequest {
  /** Whether the response is to be kept; what is not said is yes. */
  readonly store: boolean;
  readonly background: boolean;
  /** The response that it continues. */
  readonly previousResponseId: string | undefined;
  /** Whether it belongs to a conversation that its provider keeps. */
  readonly inConversation: boolean;
  /** The JSON value of `input` as it came; an empty list when there is none. */
  readonly input: Buffer;
  /** The ids of the items of earlier responses that it refers to, each once. */
  readonly references: readonly string[];
}

/** A turn as it was stored. */
export interface StoredTurn {
  readonly responseId: string;
  /** The JSON value of `input`. */
  readonly input: Uint8Array;
  /** The JSON list of output items; empty: none. */
  readonly output: Uint8Array;
}

const ownMembers: ReadonlySet<string> = new Set([
  "background",
  "conversation",
  "input",
  "previous_response_id",
  "store",
  "stream",
]);

const noItems = Buffer.from("[]");
const idLengthMax = 256;

/**
 * Reads what a request asks of stored state: one scan of its bytes.
 * @param body valid JSON
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readStoredRequest(body: Buffer): StoredRequest {
  const members = scanMembers(body, ownMembers, depthMax);
  if (members?.duplicate !== undefined) {
    throw invalid(`\`${members.duplicate}\` stands more than once.`, members.duplicate);
  }
  const bytesOf = (name: string): Buffer | undefined => {
    const span = members?.spans.get(name);
    return span && body.subarray(span.start, span.end);
  };
  const store = readFlag(bytesOf("store"), "store") ?? true;
  const background = readFlag(bytesOf("background"), "background") ?? false;
  const previousResponseId = readId(bytesOf("previous_response_id"));
  const inConversation = isThere(bytesOf("conversation"));
  const input = bytesOf("input");
  if (previousResponseId !== undefined && inConversation) {
    throw invalid("`previous_response_id` and `conversation` exclude each other.", "previous_response_id");
  }
  if (background && !store) {
    throw invalid("A response in the background must be stored; leave `store` out.", "background");
  }
  if (background && inConversation) {
    throw invalid("A response in the background cannot belong to a `conversation`.", "background");
  }
  if (background && readFlag(bytesOf("stream"), "stream") === true) {
    throw invalid(
      "A response in the background cannot be streamed; leave `stream` out, and retrieve it.",
      "background",
    );
  }
  const given = input !== undefined && isThere(input) ? input : noItems;
  return { store, background, previousResponseId, inConversation, input: given, references: referencesIn(given) };
}

/** The request with another input. */
export function withInput(body: Buffer, input: Buffer): Buffer {
  return withMembers(body, { input });
}

/**
 * The request as a provider gets it: what went before stands in `input`, and nothing refers to what only we know. Bytes that need
 * not change stay.
 * @param turns the oldest first
 */
export function withHistory(body: Buffer, { input }: StoredRequest, turns: readonly StoredTurn[]): Buffer {
  return withMembers(body, { input: joinItems([...itemsOf(turns), innerOf(input)]), previous_response_id: "null" });
}

/** The request as a provider gets it that answers at once. */
export function inForeground(body: Buffer): Buffer {
  return withMembers(body, { background: "false" });
}

/** All items that led to the last of some turns, but not its own output, as they came. */
export function inputOf(turns: readonly StoredTurn[]): Buffer {
  const last = turns.at(-1);
  return joinItems(last === undefined ? [] : [...itemsOf(turns.slice(0, -1)), innerOf(Buffer.from(last.input))]);
}

function itemsOf(turns: readonly StoredTurn[]): Buffer[] {
  return turns.flatMap(({ input, output }) => [innerOf(Buffer.from(input)), innerOf(repeated(output))]);
}

/** Output items as a request may repeat them. */
function repeated(output: Uint8Array): Buffer {
  if (output.length === 0) return noItems;
  const response = parseExact(`{"output":${Buffer.from(output).toString()}}`);
  return response === undefined ? noItems : Buffer.from(writeJson(outputAsInput(response)));
}

/** The items of an input without the brackets around them; a text becomes a message of the user's. */
function innerOf(input: Buffer): Buffer {
  if (input[0] === 0x5b) return input.subarray(1, -1);
  return Buffer.concat([Buffer.from('{"type":"message","role":"user","content":'), input, Buffer.from("}")]);
}

function joinItems(lists: readonly Buffer[]): Buffer {
  const pieces: Buffer[] = [Buffer.from("[")];
  for (const list of lists) {
    if (isBlank(list)) continue;
    if (pieces.length > 1) pieces.push(Buffer.from(","));
    pieces.push(list);
  }
  pieces.push(Buffer.from("]"));
  return Buffer.concat(pieces);
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09);
}

function isThere(bytes: Buffer | undefined): boolean {
  return bytes !== undefined && bytes.toString("latin1") !== "null";
}

function readFlag(bytes: Buffer | undefined, param: string): boolean | undefined {
  switch (bytes?.toString("latin1")) {
    case undefined:
    case "null":
      return undefined;
    case "true":
      return true;
    case "false":
      return false;
    default:
      throw invalid(`\`${param}\` must be true or false.`, param);
  }
}

function readId(bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined || !isThere(bytes)) return undefined;
  const json = bytes[0] === 0x22 ? parseExact(`{"id":${bytes.toString()}}`) : undefined;
  const id = isObject(json) ? json["id"] : undefined;
  if (typeof id === "string" && id !== "" && id.length <= idLengthMax) return id;
  throw invalid("`previous_response_id` must be the id of a response.", "previous_response_id");
}
