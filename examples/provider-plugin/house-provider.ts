import type { FrameReader, ProviderError, RequestWriting, StreamFault, UsageReading } from "@weir/dialect/codec";
import { choiceEnd, dropped, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { type JsonObject, parseObject } from "@weir/dialect/json";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type Message, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { ProviderPlugin, TargetCodec } from "@weir/pool/providers/plugin";

// The house's own API. A request is
//   POST /v2/models/MODEL/answer {"stream": false, "turns": [{"who": "user", "text": "hi"}], "limit": 100}
// An answer is {"text": "...", "why": "end", "counts": {"in": 3, "out": 5}}. In a stream each line is {"piece": "..."}, but for the last
// one: {"why": "end", "counts": {...}}. A failure is {"fault": "busy"}, with status 409 for everything.

const who: Readonly<Partial<Record<Role, string>>> = {
  [Role.SYSTEM]: "house",
  [Role.DEVELOPER]: "house",
  [Role.USER]: "user",
  [Role.ASSISTANT]: "model",
};

const codec: TargetCodec = {
  name: "house",
  framing: "ndjson",
  writeRequest,
  readAnswer(body) {
    if (typeof body["text"] !== "string") return undefined;
    const usage = readCounts(body);
    const events = [startEvent({ id: "", model: "" }), textEvent(0, 0, body["text"]), end(body, usage)];
    return { events, usage };
  },
  createFrameReader,
  readError: (body) => (typeof body["fault"] === "string" ? { code: body["fault"], type: "" } : undefined),
};

/** How Weir calls the house. */
export const provider: ProviderPlugin = {
  codec,
  path: (model) => `/v2/models/${encodeURIComponent(model)}/answer`,
  headers: (key) => (key === undefined ? {} : { "x-house-key": key, "x-house-app": "weir" }),
  judge,
};

/** Its status is always 409; what happened stands in the body. */
function judge(_status: number, error: ProviderError | undefined): number | undefined {
  switch (error?.code) {
    case "busy":
      return 429;
    case "stranger":
      return 401;
    case "asleep":
      return 503;
    default:
      return 400;
  }
}

/** What the house cannot express is refused where it changes what is meant; hints are left out. */
function writeRequest(request: GenerateRequest, { stream }: { readonly stream: boolean }): RequestWriting {
  if ((request.choiceCount ?? 1) > 1) throw unsupported("choice_count");
  if (request.tools.length > 0) throw unsupported("tools");
  if (request.stopSequences.length > 0) throw unsupported("stop_sequences");
  if (request.outputFormat !== undefined) throw unsupported("output_format");
  const turns = request.messages.map((message, index) => ({
    who: who[message.role] ?? refuse(`messages[${index}].role`),
    text: textOf(message, index),
  }));
  const body: JsonObject = {
    stream,
    turns,
    ...(request.maxOutputTokens === undefined ? {} : { limit: request.maxOutputTokens }),
  };
  return { body, warnings: request.sampling === undefined ? [] : [dropped("sampling", codec.name)] };
}

function textOf({ parts }: Message, index: number): string {
  return parts
    .map(({ content }, at) =>
      content.case === "text" ? content.value.text : refuse(`messages[${index}].parts[${at}]`),
    )
    .join("\n");
}

function refuse(param: string): never {
  throw unsupported(param);
}

function unsupported(param: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
    text: "The house takes one answer to plain text.",
    metadata: { param },
  });
}

function createFrameReader(): FrameReader {
  let begun = false;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;
  return {
    read(_type, data, out) {
      if (fault !== undefined || complete) return;
      const line = parseObject(data);
      const error = line && codec.readError(line);
      if (line === undefined) fault = { kind: "malformed" };
      else if (error !== undefined) fault = { kind: "error", error };
      else {
        if (!begun) out.push(startEvent({ id: "", model: "" }));
        begun = true;
        if (typeof line["piece"] === "string") out.push(textEvent(0, 0, line["piece"]));
        if (typeof line["why"] === "string") {
          usage = readCounts(line);
          out.push(end(line, usage));
          complete = true;
        }
      }
    },
    // A stream that closes without its last line was cut.
    finish: () => undefined,
    get complete() {
      return complete;
    },
    get fault() {
      return fault;
    },
    get usage() {
      return usage;
    },
  };
}

function end({ why }: JsonObject, usage: UsageReading | undefined): GenerateEvent {
  const reason = why === "limit" ? StopReason.LENGTH : StopReason.END;
  return endEvent([choiceEnd(0, reason, String(why))], usage?.usage);
}

/** What the ledger is written from. Counts that are not there stay away: they are not zero. */
function readCounts({ counts }: JsonObject): UsageReading | undefined {
  if (typeof counts !== "object" || counts === null) return undefined;
  const { in: inputTokens, out: outputTokens }: { in?: unknown; out?: unknown } = counts;
  if (typeof inputTokens !== "number" || typeof outputTokens !== "number") return undefined;
  return {
    usage: { $typeName: "weir.common.v1.Usage", inputTokens, outputTokens, serverToolUses: {} },
    sound: true,
  };
}
