import { isUtf8 } from "node:buffer";
import { scanMembers } from "@weir/dialect/json-scan";
import { isObject, type JsonObject, parseObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { BodyItem } from "./call-body.ts";

/** A JSON body that passes through. */
export interface JsonBody {
  readonly json: JsonObject;
  /** As it is sent: the client's own bytes, with a place for the model where it names one. */
  readonly items: readonly BodyItem[];
  /** What `model` holds; empty: it is not there. */
  readonly model: string;
  /** Length without the places of the model. */
  readonly bytes: number;
}

const depthMax = 128;
const readMembers: ReadonlySet<string> = new Set(["model", "stream", "input", "n", "user", "safety_identifier"]);

/** @throws WeirError INVALID_REQUEST with `param`, the member at fault; never quotes the body */
export function readJsonCall(body: Buffer): JsonBody {
  if (!isUtf8(body)) throw invalid("The body is not UTF-8.");
  const members = scanMembers(body, readMembers, depthMax);
  const json = members === undefined || members.tooDeep ? undefined : parseObject(body.toString());
  if (json === undefined || members === undefined) throw invalid("The body is not a JSON object.");
  // Two of one name would be read one way here and another way by the provider.
  if (members.duplicate !== undefined)
    throw invalid(`\`${members.duplicate}\` stands more than once.`, members.duplicate);
  const span = members.spans.get("model");
  const { model } = json;
  if (span === undefined || model == null) return { json, items: [body], model: "", bytes: body.length };
  if (typeof model !== "string") throw invalid("`model` is not a text.", "model");
  return {
    json,
    items: [body.subarray(0, span.start), "model", body.subarray(span.end)],
    model,
    bytes: body.length - (span.end - span.start),
  };
}

/** What a call will be billed for apart from tokens, as far as its body says. */
export function unitsOf(path: string, { json }: JsonBody): Record<string, number> {
  if (path === "/audio/speech") {
    const { input } = json;
    return typeof input === "string" ? { characters: [...input].length } : {};
  }
  return path.startsWith("/images/") ? { images: imageCount(json["n"]) } : {};
}

/** How many images are asked for, by the value of `n`. */
export function imageCount(n: unknown): number {
  const count = Number(n ?? 1);
  return Number.isInteger(count) && count >= 1 && count <= 1_000 ? count : 1;
}

/** As for chat; it travels in headers, which have a bound for all calls of a connection. */
const userLengthMax = 256;

/**
 * The end user that a body names.
 * @param user what stands there
 * @throws WeirError INVALID_REQUEST when it is too long
 */
export function readUser(user: unknown): string | undefined {
  if (typeof user !== "string") return undefined;
  if (user.length > userLengthMax) throw invalid(`The end user has more than ${userLengthMax} characters.`, "user");
  return user;
}

/** Members that name resources, anywhere in a body. */
const referring: ReadonlySet<string> = new Set([
  "file_id",
  "file_ids",
  "input_file_id",
  "training_file",
  "validation_file",
  "vector_store_id",
  "vector_store_ids",
]);
/** Texts of the client's own making, in which nothing is named. */
const free: ReadonlySet<string> = new Set(["metadata", "attributes", "query", "name", "suffix"]);
const idShape = /^(?:file|upload|vs|batch|ftjob)[-_][\w-]{4,}$/;

/**
 * A body as it was read here, for calls whose references are looked at: of two members of one name, at any depth, the provider
 * might take the other one.
 * @throws WeirError as readJsonCall
 */
export function writtenAnew(body: Buffer): Buffer {
  return Buffer.from(JSON.stringify(readJsonCall(body).json));
}

/**
 * The ids of resources that a body names, so that nobody reaches another tenant's by naming it: what stands under a member that
 * names resources and, unless its texts are what models see, whatever looks like an id of one.
 */
export function resourcesIn(json: JsonObject, isForModels = false): string[] {
  const found = new Set<string>();
  const look = (value: unknown, isReference: boolean): void => {
    if (typeof value === "string") {
      if (isReference || (!isForModels && idShape.test(value))) found.add(value);
    } else if (Array.isArray(value)) {
      for (const item of value) look(item, isReference);
    } else if (isObject(value)) {
      for (const [name, member] of Object.entries(value)) {
        if (!free.has(name)) look(member, referring.has(name));
      }
    }
  };
  look(json, false);
  return [...found];
}

function invalid(text: string, param?: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === undefined ? {} : { metadata: { param } }) });
}
