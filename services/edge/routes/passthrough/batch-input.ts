import { isUtf8 } from "node:buffer";
import { isObject, parseObject } from "@weir/dialect/json";
import { scanMembers } from "@weir/dialect/json-scan";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { mayName } from "../../files/kept-names.ts";
import { namesInJson } from "../../files/request-names.ts";
import { heldBytes } from "../../http/body.ts";
import { addToBound, type Bound, endpointOf, limitNames } from "./batch-bounds.ts";

/** Memory for the line that is being read. */
export interface LineMemory {
  /** @returns false when there is no room; nothing is taken then */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** What is wrong with a file as the input of a batch. */
interface Fault {
  readonly line: number;
  /** Follows on the line's number: `names no model`. */
  readonly text: string;
}

const lineBytesMax = 10 * 1024 * 1024;
const modelsMax = 100;
const modelCharsMax = 256;
const endpointCharsMax = 64;
const filesMax = 1_000;
const depthMax = 128;
const newline = 0x0a;
const carriageReturn = 0x0d;
const lineMembers: ReadonlySet<string> = new Set(["custom_id", "method", "url", "body"]);
/** By which a request of Responses goes on with what its provider keeps. */
const keptNames = ["previous_response_id", "conversation"] as const;
const bodyMembers: ReadonlySet<string> = new Set(["model", ...keptNames, ...limitNames]);

/** A model that lines name. */
export interface LineModel {
  /** The first line that does. */
  readonly line: number;
  /** What the requests of all of its lines may use. */
  readonly bound: Bound;
}

/**
 * Reads the input file of a batch as it comes, line by line, and holds no more of it than one line, of 10 MiB at most. After the
 * first thing that is wrong nothing more is read. https://platform.openai.com/docs/api-reference/batch/request-input
 */
export class BatchInputReader {
  /** The models that `body.model` names. */
  readonly models = new Map<string, LineModel>();
  /** The ids of files and vector stores that requests name, each with the first line that does. */
  readonly files = new Map<string, number>();
  private readonly memory: LineMemory;
  /** Where the first line goes, and so do all others; undefined: none was read. */
  private url: string | undefined;
  private parts: Buffer[] = [];
  private bytes = 0;
  /** What the parts have taken of the memory. */
  private taken = 0;
  private line = 1;
  private fault: Fault | undefined;
  private hasNoRoom = false;

  constructor(memory: LineMemory) {
    this.memory = memory;
  }

  push(data: Buffer): void {
    let from = 0;
    for (let end = data.indexOf(newline); end >= 0 && !this.isOver; end = data.indexOf(newline, from)) {
      this.endLine(data.subarray(from, end));
      from = end + 1;
    }
    if (!this.isOver && from < data.length) this.keep(data.subarray(from));
  }

  /** The file is whole. */
  end(): void {
    if (!this.isOver) this.endLine(noBytes);
    if (this.isOver || this.models.size > 0) return;
    this.line = 1;
    this.refuse("has no request in it");
  }

  /** Where all requests go, without the version; empty: they do not say. */
  get endpoint(): string {
    return this.url ?? "";
  }

  /** Gives back what is held; nothing more is read. */
  drop(): void {
    this.letGo();
    this.hasNoRoom = true;
  }

  /**
   * What keeps the file from being a batch's input, if anything has been found.
   * @returns INVALID_REQUEST with the line; OVERLOADED when there was no room for one
   */
  get failure(): WeirError | undefined {
    if (this.fault !== undefined) return faultyLine(this.fault.line, this.fault.text);
    return this.hasNoRoom ? new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 }) : undefined;
  }

  private get isOver(): boolean {
    return this.fault !== undefined || this.hasNoRoom;
  }

  private keep(part: Buffer): void {
    if (this.bytes + part.length > lineBytesMax) this.refuse("is longer than 10 MiB; send less in one request");
    else if (this.memory.take(heldBytes(part))) {
      this.taken += heldBytes(part);
      this.bytes += part.length;
      this.parts.push(part);
    } else this.drop();
  }

  private endLine(last: Buffer): void {
    if (this.bytes + last.length > lineBytesMax) {
      this.refuse("is longer than 10 MiB; send less in one request");
      return;
    }
    const line = this.parts.length === 0 ? last : Buffer.concat([...this.parts, last]);
    this.letGo();
    const text = this.take(line.at(-1) === carriageReturn ? line.subarray(0, -1) : line);
    if (text === undefined) this.line += 1;
    else this.refuse(text);
  }

  private letGo(): void {
    this.memory.give(this.taken);
    this.taken = 0;
    this.bytes = 0;
    this.parts = [];
  }

  /** @returns what is wrong with the line */
  private take(line: Buffer): string | undefined {
    if (line.length === 0) return undefined;
    // Some readers end lines there as well, and would see others than these.
    if (!isUtf8(line) || line.includes(carriageReturn)) return "is not one JSON object in UTF-8";
    const members = scanMembers(line, lineMembers, depthMax);
    const json = members === undefined || members.tooDeep ? undefined : parseObject(line.toString());
    const span = members?.spans.get("body");
    if (json === undefined) return "is not one JSON object in UTF-8";
    const { body } = json;
    if (!isObject(body) || span === undefined) return "has no `body` that is an object";
    // Of two members of one name the provider might take the other one.
    const request = line.subarray(span.start, span.end);
    const twice = members?.duplicate ?? scanMembers(request, bodyMembers, depthMax)?.duplicate;
    if (twice !== undefined) return `has \`${twice}\` more than once`;
    const { model } = body;
    if (typeof model !== "string" || model === "" || model.length > modelCharsMax) {
      return "names no model: `body.model` must be the name of one";
    }
    // What a provider keeps under an id is on nobody's record.
    const kept = keptNames.find((name) => (body[name] ?? null) !== null);
    if (kept !== undefined) return `has \`body.${kept}\`: send what came before in the request itself`;
    const endpoint = typeof json["url"] === "string" ? endpointOf(json["url"]) : "";
    let named = this.models.get(model);
    if (named === undefined) {
      named = { line: this.line, bound: { inputTokens: 0, outputTokens: 0, openChoices: 0, openLine: 0 } };
      this.models.set(model, named);
    }
    if (this.models.size > modelsMax) return `names one model more than the ${modelsMax} that one batch may use`;
    const fault =
      (mayName(line) ? this.takeNames(line, json) : undefined) ??
      addToBound(named.bound, endpoint, body, request, this.line);
    if (fault !== undefined) return fault;
    const isOther = endpoint.length > endpointCharsMax || endpoint !== (this.url ??= endpoint);
    return isOther ? "has another `url` than the lines before it: a batch has one" : undefined;
  }

  private takeNames(line: Buffer, json: unknown): string | undefined {
    try {
      const { ids, members } = namesInJson(line, json);
      const [member] = members;
      if (member !== undefined) return `has \`${member}\`, which names what is on nobody's record; leave it out`;
      for (const id of ids) if (!this.files.has(id)) this.files.set(id, this.line);
    } catch (thrown) {
      if (thrown instanceof WeirError && thrown.reason === ErrorReason.INVALID_REQUEST) {
        return "names what a provider keeps, and has a member that stands more than once";
      }
      throw thrown;
    }
    return this.files.size > filesMax ? `names one file more than the ${filesMax} that one batch may use` : undefined;
  }

  private refuse(text: string): void {
    this.drop();
    this.hasNoRoom = false;
    this.fault = { line: this.line, text };
  }
}

/** Tells which line of an input file is at fault. @param text follows on its number */
export function faultyLine(line: number, text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `Line ${line} of the batch's input file ${text}.`,
    metadata: { param: "file" },
  });
}

const noBytes = Buffer.alloc(0);
