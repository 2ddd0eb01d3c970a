import type { MessageInitShape } from "@bufbuild/protobuf";
import { type MessageSchema, type PartSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import {
  isJsonObject,
  readFlag,
  readList,
  readObject,
  readText,
  required,
  requiredObject,
  requiredText,
} from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { type CallIds, createCallIds } from "./call-ids.ts";
import { mediaKind, readFileData, readInlineData } from "./media.ts";
import { knownMembers, memberNames, refuse, sortMembers } from "./members.ts";
import { markOwn, readProof } from "./signature.ts";
import { readResponse } from "./tool-result.ts";

type MessageInit = MessageInitShape<typeof MessageSchema>;
type PartInit = MessageInitShape<typeof PartSchema>;

const contentNames = memberNames("role parts");
const partNames = memberNames(
  // `partMetadata` is the client's own note, which the model does not see.
  "text thought thoughtSignature inlineData fileData functionCall functionResponse mediaResolution partMetadata",
);

/** Members of a part of which one is there: what the part holds. */
const dataNames = ["text", "inlineData", "fileData", "functionCall", "functionResponse"] as const;

/** Reads `systemInstruction`, whose parts are texts. */
export function readSystemInstruction(value: unknown): MessageInit[] {
  const content = readObject(value, "systemInstruction");
  if (content === undefined) return [];
  const { parts } = knownMembers(content, contentNames, "systemInstruction");
  const param = "systemInstruction.parts";
  const texts = (readList(parts, param) ?? []).map((item, index): PartInit => {
    const path = `${param}[${index}]`;
    const { text } = knownMembers(requiredObject(item, path), textNames, path);
    return textPart(required(readText(text, `${path}.text`), `${path}.text`));
  });
  return texts.length === 0 ? [] : [{ role: Role.SYSTEM, parts: texts }];
}

const textNames = memberNames("text partMetadata");

/** Reads `contents`. Results of functions among what the user says become messages of their own, in order. */
export function readContents(value: unknown): MessageInit[] {
  const contents = required(readList(value, "contents"), "contents");
  if (contents.length === 0) throw invalid("`contents` must hold at least one content.", "contents");
  const ids = createCallIds(givenIds(contents));
  return contents.flatMap((item, index) => {
    const param = `contents[${index}]`;
    const { role, parts } = knownMembers(requiredObject(item, param), contentNames, param);
    const items = (readList(parts, `${param}.parts`) ?? []).map((part, at) => {
      const path = `${param}.parts[${at}]`;
      return { path, part: requiredObject(part, path) };
    });
    if (isModel(role, `${param}.role`)) {
      const parts = joinPieces(items).flatMap(({ part, path }) => readModelPart(part, path, ids));
      return [{ role: Role.ASSISTANT, parts }];
    }
    return byRole(items.map(({ part, path }) => readUserPart(part, path, ids)));
  });
}

interface Item {
  readonly path: string;
  readonly part: JsonObject;
}

/**
 * Joins what a stream said piece by piece: Google's library keeps every piece as a part of its own, and a signature that came
 * at the end in one without text. Vendors that check a proof against its text must get the text whole.
 */
function joinPieces(items: readonly Item[]): Item[] {
  const joined: Item[] = [];
  let last: Piece | undefined;
  for (const item of items) {
    const piece = readPiece(item);
    if (last !== undefined && piece !== undefined && continues(last, piece)) {
      const { path } = joined.pop() ?? item;
      last = { ...last, ...piece, text: last.text + piece.text };
      joined.push({ path, part: { ...last } });
    } else {
      joined.push(item);
      last = piece;
    }
  }
  return joined;
}

/** A part that is text, or a thought, and nothing else. */
interface Piece {
  readonly text: string;
  readonly thought: boolean;
  readonly thoughtSignature?: unknown;
}

const pieceNames: ReadonlySet<string> = new Set(["text", "thought", "thoughtSignature", "partMetadata"]);

function readPiece({ part, path }: Item): Piece | undefined {
  const { known, rest } = sortMembers(part, partNames, path);
  const { text, thought, thoughtSignature } = known;
  const isPiece = Object.keys(known).every((name) => known[name] === undefined || pieceNames.has(name));
  if (typeof text !== "string" || !isPiece || Object.keys(rest).length > 0) return undefined;
  if (thought !== undefined && typeof thought !== "boolean") return undefined;
  return { text, thought: thought === true, ...(thoughtSignature === undefined ? {} : { thoughtSignature }) };
}

/** A signature ends what it proves; behind a text it may also stand for what came before. */
function continues(earlier: Piece, later: Piece): boolean {
  if (earlier.thoughtSignature !== undefined || earlier.thought !== later.thought) return false;
  return later.thought || later.thoughtSignature === undefined;
}

/** Whether the model speaks. `function` is an older word for the user who brings results. */
function isModel(role: unknown, param: string): boolean {
  if (role === "model") return true;
  if (role === undefined || role === "user" || role === "function" || role === "") return false;
  throw invalid(`\`${param}\` must be \`user\` or \`model\`.`, param);
}

/** Parts of a user, as messages of the roles that they have in the canonical form. */
function byRole(parts: readonly PartInit[]): MessageInit[] {
  if (parts.length === 0) return [{ role: Role.USER }];
  const messages: { role: Role; parts: PartInit[] }[] = [];
  for (const part of parts) {
    const role = part.content?.case === "toolResult" ? Role.TOOL : Role.USER;
    const last = messages.at(-1);
    if (last?.role === role) last.parts.push(part);
    else messages.push({ role, parts: [part] });
  }
  return messages;
}

function readUserPart(part: JsonObject, param: string, ids: CallIds): PartInit {
  const { known, rest } = sortMembers(part, partNames, param);
  refuse(rest, param);
  const name = dataName(known, param);
  if (known["thought"] === true || known["thoughtSignature"] !== undefined || name === "functionCall") {
    throw untranslatable("Only the model has thoughts and calls functions; give this content the role `model`.", param);
  }
  if (name === "functionResponse") return readFunctionResponse(known[name], `${param}.${name}`, ids);
  if (name === "text") return textPart(required(readText(known[name], `${param}.text`), `${param}.text`));
  return readMediaPart(known, param);
}

function dataName(known: JsonObject, param: string): (typeof dataNames)[number] {
  const [name, ...more] = dataNames.filter((candidate) => known[candidate] !== undefined);
  if (name === undefined || more.length > 0) {
    throw invalid("A part must hold exactly one of `text`, `inlineData`, `fileData` and other data.", param);
  }
  return name;
}

/** A part of the model's. What the canonical form has no kind for is sealed, to go back to Gemini as it is. */
function readModelPart(part: JsonObject, param: string, ids: CallIds): PartInit[] {
  const { known, rest } = sortMembers(part, partNames, param);
  const isThought = readFlag(known["thought"], `${param}.thought`) === true;
  const proof = readProof(readText(known["thoughtSignature"], `${param}.thoughtSignature`));
  const held = dataNames.filter((name) => known[name] !== undefined);
  const [name] = held;
  if (name === undefined && Object.keys(rest).length > 0) return [sealedPart(part)];
  refuse(rest, param);
  if (held.length > 1 || name === "functionResponse") {
    throw invalid("A part of the model's must hold one of `text`, `functionCall` and other data.", param);
  }
  if (name === "functionCall") {
    const call = readFunctionCall(known[name], `${param}.${name}`, ids);
    return [{ content: { case: "toolCall", value: { ...call, signature: proof.signature } } }];
  }
  if (name === "inlineData" || name === "fileData") {
    return isThought ? [sealedPart(part)] : [readMediaPart(known, param), ...signatureParts(proof.signature)];
  }
  const text = readText(known["text"], `${param}.text`) ?? "";
  if (isThought || proof.sealed.length > 0 || proof.id !== "") {
    return [{ content: { case: "reasoning", value: { text, ...proof } } }];
  }
  const isBare = text === "" && (proof.signature.length > 0 || known["text"] === undefined);
  return [...(isBare ? [] : [textPart(text)]), ...signatureParts(proof.signature)];
}

/** The signature of the part before it. */
function signatureParts(signature: Uint8Array): PartInit[] {
  return signature.length === 0 ? [] : [{ content: { case: "reasoning", value: { signature } } }];
}

function sealedPart(part: JsonObject): PartInit {
  return { content: { case: "reasoning", value: { sealed: markOwn(writeJson(part)) } } };
}

function textPart(text: string): PartInit {
  return { content: { case: "text", value: { text } } };
}

const resolutionNames = memberNames("level");

function readMediaPart(known: JsonObject, param: string): PartInit {
  const media =
    known["inlineData"] === undefined
      ? readFileData(known["fileData"], `${param}.fileData`)
      : readInlineData(known["inlineData"], `${param}.inlineData`);
  const path = `${param}.mediaResolution`;
  const { level } = knownMembers(readObject(known["mediaResolution"], path) ?? {}, resolutionNames, path);
  const word = (readText(level, `${path}.level`) ?? "").toLowerCase().replace("media_resolution_", "");
  return {
    content: { case: mediaKind(media.mediaType), value: { ...media, detail: word === "unspecified" ? "" : word } },
  };
}

const callNames = memberNames("id name args");

function readFunctionCall(value: unknown, param: string, ids: CallIds) {
  const call = knownMembers(requiredObject(value, param), callNames, param);
  const name = requiredText(call["name"], `${param}.name`);
  const args = readObject(call["args"], `${param}.args`) ?? {};
  return { id: ids.call(readId(call["id"], `${param}.id`), name), name, arguments: writeJson(args) };
}

const responseNames = memberNames("id name response parts");
const responsePartNames = memberNames("inlineData fileData");

function readFunctionResponse(value: unknown, param: string, ids: CallIds): PartInit {
  const result = knownMembers(requiredObject(value, param), responseNames, param);
  const name = requiredText(result["name"], `${param}.name`);
  const { text, failed } = readResponse(readObject(result["response"], `${param}.response`) ?? {});
  const media = (readList(result["parts"], `${param}.parts`) ?? []).map((item, index) => {
    const path = `${param}.parts[${index}]`;
    const known = knownMembers(requiredObject(item, path), responsePartNames, path);
    dataName(known, path);
    return readMediaPart(known, path);
  });
  const toolCallId = ids.result(readId(result["id"], `${param}.id`), name);
  const parts = [...(text === undefined ? [] : [textPart(text)]), ...media];
  return { content: { case: "toolResult", value: { toolCallId, parts, failed } } };
}

function readId(value: unknown, param: string): string | undefined {
  return readText(value, param) || undefined;
}

/** Ids of calls and results, wherever they stand; what is malformed is found when it is read. */
function givenIds(contents: readonly unknown[]): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const content of contents) {
    const parts = isJsonObject(content) ? content["parts"] : undefined;
    for (const part of Array.isArray(parts) ? (parts as unknown[]) : []) {
      for (const inner of isJsonObject(part) ? Object.values(part) : []) {
        const id = isJsonObject(inner) ? inner["id"] : undefined;
        if (typeof id === "string") ids.add(id);
      }
    }
  }
  return ids;
}
