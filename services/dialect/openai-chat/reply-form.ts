import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { ReplyStart } from "@weir/gen/weir/chat/v1/event_pb";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { AnswerOptions } from "../codec.ts";
import { writeDataUrl } from "../data-url.ts";
import { imageType } from "../image-type.ts";
import { isObject, type JsonObject } from "../json.ts";

/** What of a client's own request shapes its answer. */
export interface ReplyForm {
  /** Names of its tools without a schema, whose calls are `custom`. */
  readonly customTools: ReadonlySet<string>;
  /** Whether it gave `functions` rather than `tools`, and so looks for `function_call`. */
  readonly legacy: boolean;
}

export function readReplyForm(request: JsonObject): ReplyForm {
  const tools: unknown[] = Array.isArray(request["tools"]) ? request["tools"] : [];
  const customTools = new Set<string>();
  for (const tool of tools) {
    const custom = isObject(tool) && tool["type"] === "custom" ? tool["custom"] : undefined;
    if (isObject(custom) && typeof custom["name"] === "string") customTools.add(custom["name"]);
  }
  return { customTools, legacy: tools.length === 0 && Array.isArray(request["functions"]) };
}

/** What every chunk says of the answer, and the answer of itself. */
export interface ReplyHead {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly service_tier?: string;
  readonly system_fingerprint?: string;
}

export function writeReplyHead(start: ReplyStart | undefined, options: AnswerOptions): ReplyHead {
  const { id = "", model = "", createTime, serviceTier = "", systemFingerprint = "" } = start ?? {};
  const createTimeMs = createTime === undefined ? options.createTimeMs : timestampMs(createTime);
  return {
    id: id === "" ? options.id : id,
    created: Math.floor(createTimeMs / 1_000),
    model: model === "" ? options.model : model,
    ...(serviceTier !== "" && { service_tier: serviceTier }),
    ...(systemFingerprint !== "" && { system_fingerprint: systemFingerprint }),
  };
}

/** A picture that the model made, as OpenRouter shows it; undefined for one that is only an id at its vendor. */
export function writeImage({ source, mediaType }: Media): JsonObject | undefined {
  if (source.case === "url") return { type: "image_url", image_url: { url: source.value } };
  if (source.case !== "data") return undefined;
  const url = writeDataUrl({ mediaType: mediaType === "" ? imageType(source.value) : mediaType, data: source.value });
  return { type: "image_url", image_url: { url } };
}
