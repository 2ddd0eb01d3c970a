import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { isObject, type JsonObject, parseObject } from "@weir/dialect/json";

/**
 * Looks for what a provider reports of usage in an answer that passes, of any length, JSON or events: the last object under
 * `usage` or `billed_units`. Inside of a text of JSON the quotes before and after such a name are escaped, so that what models
 * say is never taken for it.
 */
export class UsageWatch {
  private readonly endpoint: string;
  private carry: Buffer = noBytes;
  /** The beginning of an object whose end has not come. */
  private open: Buffer | undefined;
  private found: Usage | undefined;

  /** @param endpoint as in CallHead */
  constructor(endpoint: string) {
    this.endpoint = endpoint;
  }

  /** What was reported so far. */
  get usage(): Usage | undefined {
    return this.found;
  }

  push(bytes: Buffer): void {
    let rest: Buffer = Buffer.concat([this.open ?? this.carry, bytes]);
    this.carry = noBytes;
    if (this.open === undefined) rest = fromName(rest) ?? this.keep(rest);
    this.open = undefined;
    while (rest.length > 0) {
      const end = objectEnd(rest);
      if (end === "more") {
        this.open = rest;
        return;
      }
      if (end !== "none") this.take(rest.subarray(rest.indexOf(0x7b), end));
      rest = rest.subarray(end === "none" ? 1 : end);
      rest = fromName(rest) ?? this.keep(rest);
    }
  }

  /** Keeps what may be the beginning of a name. */
  private keep(rest: Buffer): Buffer {
    this.carry = Buffer.from(rest.subarray(Math.max(0, rest.length - nameBytesMax)));
    return noBytes;
  }

  private take(bytes: Buffer): void {
    const json = parseObject(bytes.toString());
    if (json !== undefined) this.found = readUsage(json, this.endpoint) ?? this.found;
  }
}

const noBytes: Buffer = Buffer.alloc(0);
const names = ['"usage"', '"billed_units"'];
const nameBytesMax = 14;
/** An object of usage is far shorter. */
const objectBytesMax = 16_384;

/** From the first of the names on. */
function fromName(bytes: Buffer): Buffer | undefined {
  const places = names.map((name) => bytes.indexOf(name)).filter((place) => place >= 0);
  return places.length === 0 ? undefined : bytes.subarray(Math.min(...places));
}

/**
 * Where the object that follows a name ends.
 * @param bytes begin with the name
 */
function objectEnd(bytes: Buffer): number | "more" | "none" {
  let depth = 0;
  let inText = false;
  const start = bytes.indexOf(0x22, 1) + 1;
  for (let at = start; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (inText) {
      if (byte === 0x5c) at += 1;
      else if (byte === 0x22) inText = false;
    } else if (byte === 0x22 && depth > 0) {
      inText = true;
    } else if (byte === 0x7b) {
      depth += 1;
    } else if (byte === 0x7d && depth > 0) {
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && byte !== 0x3a && byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
      return "none";
    }
    if (at > objectBytesMax) return "none";
  }
  return "more";
}

/**
 * Images: https://platform.openai.com/docs/api-reference/images/object. Transcriptions, by tokens or by seconds:
 * https://platform.openai.com/docs/api-reference/audio/json-object. Rerank: https://docs.cohere.com/reference/rerank.
 */
export function readUsage(json: JsonObject, endpoint: string): Usage | undefined {
  const input = objectOf(json["input_tokens_details"] ?? json["input_token_details"] ?? json["prompt_tokens_details"]);
  const output = objectOf(
    json["output_tokens_details"] ?? json["output_token_details"] ?? json["completion_tokens_details"],
  );
  const inputTokens = count(json["input_tokens"] ?? json["prompt_tokens"]);
  const outputTokens = count(json["output_tokens"] ?? json["completion_tokens"]);
  const serverToolUses: Record<string, number> = {};
  const searches = count(json["search_units"]);
  if (searches !== undefined) serverToolUses["search_units"] = searches;
  const seconds = json["seconds"];
  if (typeof seconds === "number" && seconds >= 0 && seconds < 1e6)
    serverToolUses["audio_seconds"] = Math.ceil(seconds);
  const total = count(json["total_tokens"]);
  const onlyTotal = inputTokens === undefined && outputTokens === undefined ? total : undefined;
  if (inputTokens === undefined && outputTokens === undefined && onlyTotal === undefined) {
    if (Object.keys(serverToolUses).length === 0) return undefined;
  }
  return {
    $typeName: "weir.common.v1.Usage",
    serverToolUses,
    ...present("inputTokens", inputTokens ?? onlyTotal),
    ...present("outputTokens", outputTokens ?? (onlyTotal === undefined ? undefined : 0)),
    ...present("cachedInputTokens", count(input["cached_tokens"])),
    ...present("audioInputTokens", count(input["audio_tokens"])),
    ...present("imageInputTokens", count(input["image_tokens"])),
    ...present("reasoningTokens", count(output["reasoning_tokens"])),
    ...present("audioOutputTokens", count(output["audio_tokens"])),
    // "The number of image tokens in the output image", unless the details tell more.
    ...present(
      "imageOutputTokens",
      count(output["image_tokens"]) ?? (endpoint === "images" ? outputTokens : undefined),
    ),
  };
}

function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff ? value : undefined;
}

function present<K extends string>(name: K, value: number | undefined): { readonly [P in K]?: number } {
  return (value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: number };
}
