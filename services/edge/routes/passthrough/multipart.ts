import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { isNamingField } from "../../files/kept-names.ts";

/** Who is told what stands in a body of multipart/form-data, in order. */
export interface MultipartSink {
  /** Bytes that go on as they are. */
  bytes(bytes: Buffer): void;
  /** In place of the content of the part `model`, which is not among the bytes. */
  model(name: string): void;
  /** A short field, whose bytes were told of as well. */
  field(name: string, value: string): void;
  /** A piece of the part `file`, whose bytes are told of as well; undefined: the part has ended. */
  content(bytes: Buffer | undefined): void;
}

/** Fields that are read, with what they may hold at most. */
const fieldsRead: ReadonlySet<string> = new Set(["n", "stream", "user", "purpose"]);
/** Parts of which two would leave open which one the provider takes. */
const single: ReadonlySet<string> = new Set(["model", "purpose", "file"]);
const fieldBytesMax = 256;
const headerBytesMax = 8_192;
const partsMax = 512;

/** RFC 2046, section 5.1.1: up to 70 characters, no space at the end. */
const boundaryShape = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/;

/**
 * The boundary that a Content-Type names.
 * @returns undefined when it is no multipart/form-data
 * @throws WeirError INVALID_REQUEST when it names none, two or one that RFC 2046 does not know
 */
export function boundaryOf(contentType: string): string | undefined {
  if (!/^multipart\/form-data\s*(?:;|$)/i.test(contentType)) return undefined;
  const all = [...contentType.matchAll(/;\s*boundary=(?:"([^"\\]*)"|([^\s";,]+))/gi)];
  const boundary = all[0]?.[1] ?? all[0]?.[2];
  if (all.length !== 1 || boundary === undefined || !boundaryShape.test(boundary)) {
    throw invalid("The Content-Type names no valid boundary.");
  }
  return boundary;
}

/**
 * Reads a body of multipart/form-data as it comes, and holds no more of it than one delimiter, one header or one short field. It is
 * read strictly, so that no two readers can see different parts in it: nothing before the first part and after the last, one
 * Content-Disposition for each part with a plain name, no transfer encoding, at most 512 parts and 8 KiB of headers for each,
 * at most one `model`, `purpose` and `file`, and no part by whose name it would name what a provider keeps. https://www.rfc-editor.org/rfc/rfc7578
 */
export class MultipartReader {
  private readonly delimiter: Buffer;
  private readonly sink: MultipartSink;
  private state: "start" | "delimiter" | "headers" | "content" | "epilogue" = "start";
  private rest: Buffer = Buffer.alloc(0);
  private parts = 0;
  private epilogueBytes = 0;
  private readonly seen = new Set<string>();
  /** Of the part whose content comes. */
  private name = "";
  /** Its content, where that is read. */
  private value: Buffer[] | undefined;
  private valueBytes = 0;

  constructor(boundary: string, sink: MultipartSink) {
    this.delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
    this.sink = sink;
  }

  /** @throws WeirError INVALID_REQUEST */
  write(chunk: Buffer): void {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (this.step());
  }

  /** The body has ended. @throws WeirError INVALID_REQUEST when it is not whole */
  end(): void {
    if (this.state !== "epilogue") throw invalid("The multipart body ends before its last boundary.");
  }

  /** @returns whether there may be more to do */
  private step(): boolean {
    switch (this.state) {
      case "start":
        return this.readStart();
      case "delimiter":
        return this.readDelimiter();
      case "headers":
        return this.readHeaders();
      case "content":
        return this.readContent();
      case "epilogue":
        if (!"\r\n".slice(this.epilogueBytes).startsWith(this.rest.toString("latin1"))) {
          throw invalid("Something follows the last boundary of the multipart body.");
        }
        this.epilogueBytes += this.rest.length;
        this.pass(this.rest.length);
        return false;
    }
  }

  /** The body begins with a delimiter, without the line break before it. */
  private readStart(): boolean {
    const first = this.delimiter.subarray(2);
    if (this.rest.length < first.length) return false;
    if (!this.rest.subarray(0, first.length).equals(first)) {
      throw invalid("The multipart body does not begin with its boundary.");
    }
    this.pass(first.length);
    this.state = "delimiter";
    return true;
  }

  /** What follows a delimiter: a line break and a part, or two hyphens and the end. */
  private readDelimiter(): boolean {
    if (this.rest.length < 2) return false;
    const two = this.rest.toString("latin1", 0, 2);
    if (two !== "\r\n" && two !== "--") throw invalid("A boundary of the multipart body does not stand alone.");
    this.pass(2);
    this.state = two === "--" ? "epilogue" : "headers";
    if (this.state === "headers" && (this.parts += 1) > partsMax)
      throw invalid("The multipart body has too many parts.");
    return this.rest.length > 0;
  }

  private readHeaders(): boolean {
    const end = this.rest.indexOf("\r\n\r\n");
    if (end > headerBytesMax || (end < 0 && this.rest.length > headerBytesMax)) {
      throw invalid("The headers of a part are too long.");
    }
    if (end < 0) return false;
    this.name = readName(this.rest.toString("latin1", 0, end));
    // What is in it goes on before it could be looked up.
    if (isNamingField(this.name)) throw invalid("A part names what a provider keeps; send such a request as JSON.");
    this.pass(end + 4);
    if (single.has(this.name)) {
      if (this.seen.has(this.name)) throw invalid(`\`${this.name}\` stands more than once.`, this.name);
      this.seen.add(this.name);
    }
    const isRead = this.name === "model" || fieldsRead.has(this.name);
    this.value = isRead ? [] : undefined;
    this.valueBytes = 0;
    this.state = "content";
    return true;
  }

  private readContent(): boolean {
    const end = this.rest.indexOf(this.delimiter);
    // The delimiter may have begun with the last bytes that are here.
    const length = end >= 0 ? end : this.rest.length - this.delimiter.length + 1;
    if (length > 0) this.content(length);
    if (end < 0) return false;
    this.endPart();
    this.pass(this.delimiter.length);
    this.state = "delimiter";
    return true;
  }

  private content(length: number): void {
    if (this.value !== undefined) {
      this.valueBytes += length;
      if (this.valueBytes > fieldBytesMax) throw invalid(`\`${this.name}\` is too long.`, this.name);
      this.value.push(this.rest.subarray(0, length));
    }
    if (this.name === "file") this.sink.content(this.rest.subarray(0, length));
    if (this.name === "model") this.rest = this.rest.subarray(length);
    else this.pass(length);
  }

  private endPart(): void {
    if (this.name === "file") this.sink.content(undefined);
    if (this.value === undefined) return;
    const value = Buffer.concat(this.value).toString();
    this.value = undefined;
    if (this.name === "model") this.sink.model(value);
    else this.sink.field(this.name, value);
  }

  private pass(length: number): void {
    if (length > 0) this.sink.bytes(this.rest.subarray(0, length));
    this.rest = this.rest.subarray(length);
  }
}

const dispositionShape =
  /^form-data; ?name="([^"\\\r\n]{1,128})"(?:; ?filename="[^"\r\n]*")?(?:; ?filename\*=[^\s;"]+)?$/i;

/** The name in the headers of a part. */
function readName(headers: string): string {
  let name: string | undefined;
  for (const line of headers.split("\r\n")) {
    const [, header = "", value = ""] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*)$/.exec(line) ?? [];
    if (header === "") throw invalid("A part of the multipart body has a malformed header.");
    const lower = header.toLowerCase();
    if (lower === "content-disposition") {
      const found = dispositionShape.exec(value.trim())?.[1];
      if (found === undefined || name !== undefined) throw invalid("A part of the multipart body has no plain name.");
      name = found;
    } else if (lower === "content-transfer-encoding" && !/^(?:binary|8bit|7bit)$/i.test(value.trim())) {
      throw invalid("A part of the multipart body has a transfer encoding.");
    }
  }
  if (name === undefined) throw invalid("A part of the multipart body has no plain name.");
  return name;
}

function invalid(text: string, param?: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === undefined ? {} : { metadata: { param } }) });
}
