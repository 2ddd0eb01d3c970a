import { type JsonObject, parseObject } from "../../json.ts";
import { scanMembers, type Span } from "../../json-scan.ts";
import { writeEcho } from "../echo.ts";
import { depthMax, withMembers } from "./splice.ts";

/** What a Response says of itself. */
export interface ResponseFacts {
  readonly id: string;
  /** Its word; empty when it has none. */
  readonly status: string;
  /** Where the list of its output items stands; undefined when it has none. */
  readonly output: Span | undefined;
}

const factMembers: ReadonlySet<string> = new Set(["id", "object", "status", "output"]);
const idLengthMax = 256;

/** Reads a Response by one scan of its bytes; undefined when it is none, or has no id that could be asked for. */
export function readResponseFacts(response: Buffer): ResponseFacts | undefined {
  const spans = scanMembers(response, factMembers, depthMax)?.spans;
  const textOf = (name: string): string => {
    const span = spans?.get(name);
    const value = span && parseObject(`{"text":${response.toString("utf8", span.start, span.end)}}`)?.["text"];
    return typeof value === "string" ? value : "";
  };
  const id = textOf("id");
  if (!idShape.test(id) || id.length > idLengthMax) return undefined;
  const output = spans?.get("output");
  const isList = output !== undefined && response[output.start] === 0x5b;
  return { id, status: textOf("status"), output: isList ? output : undefined };
}

/** What may stand in a path. */
const idShape = /^[\w.:~-]+$/;

/** Whether a text could be the id of a stored response. */
export function isResponseId(text: string): boolean {
  return text.length <= idLengthMax && idShape.test(text);
}

/** Why a Response failed; the codes are the vendor's: https://platform.openai.com/docs/api-reference/responses/object#responses/object-error */
export interface ResponseFailure {
  readonly code: "server_error" | "rate_limit_exceeded" | "invalid_prompt";
  readonly message: string;
}

/** A Response that broke off. @param items JSON text of the output items that were whole; undefined: as they stand */
export function asFailed(response: Buffer, failure: ResponseFailure, items?: readonly Buffer[]): Buffer {
  return withMembers(response, { status: '"failed"', error: JSON.stringify(failure), ...outputOf(items) });
}

/** A Response that its client gave up. */
export function asCancelled(response: Buffer, items?: readonly Buffer[]): Buffer {
  return withMembers(response, { status: '"cancelled"', ...outputOf(items) });
}

/** A Response that is being made. */
export function asInProgress(response: Buffer): Buffer {
  return withMembers(response, { status: '"in_progress"' });
}

function outputOf(items: readonly Buffer[] | undefined): Record<string, string> {
  return items === undefined ? {} : { output: `[${items.map((item) => item.toString()).join(",")}]` };
}

/** A Response that will be made, as the client of the request gets it. */
export function writeQueued(request: JsonObject, facts: { id: string; createTimeMs: number; model: string }): Buffer {
  const head = {
    id: facts.id,
    object: "response",
    created_at: Math.floor(facts.createTimeMs / 1_000),
    model: facts.model,
    status: "queued",
    error: null,
    incomplete_details: null,
    service_tier: "auto",
    output: [],
    usage: null,
  };
  return Buffer.from(`${JSON.stringify(head).slice(0, -1)},${writeEcho(request)}}`);
}
