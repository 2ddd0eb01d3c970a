import type { Citation, Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type {
  GenerateEvent,
  ReasoningDelta,
  ReplyDelta,
  ReplyEnd,
  ReplyStart,
  TokenLogprob,
  ToolCallDelta,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions, Frame } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { writeAnnotation } from "./citation.ts";
import { customToolNames, writeEcho } from "./echo.ts";
import { writeLogprobs } from "./logprobs.ts";
import { writeBase64 } from "./media.ts";
import {
  type CallItem,
  type ContentItem,
  contentJson,
  itemJson,
  type ItemStatus,
  type MessageItem,
  type OutputItem,
  type ReasoningItem,
} from "./output-item.ts";
import { makeReasoningId, writeSealed } from "./sealed.ts";
import { writeStop } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

/** Writes one answer, as events on the way and as one Response at the end. */
export interface ResponseWriter {
  /** The frames for one event. */
  write(event: GenerateEvent): readonly Frame[];
  /** The Response as JSON text; empty before `end`. */
  response(): string;
}

const nothingWrong = { error: null, incomplete_details: null };

// What the types allow.
const serviceTiers: ReadonlySet<string> = new Set([
  "auto",
  "default",
  "fast",
  "flex",
  "priority",
  "scale",
  "ultrafast",
]);

const suffixLengthMax = 40;
const noBytes: Uint8Array = new Uint8Array(0);
const noFrames: readonly Frame[] = [];

/**
 * Creates the writer of one answer. At most one message or reasoning item is open at a time; calls stay open until the end,
 * so that calls whose arguments come in turns are whole. A piece that comes for a part already closed begins a new one.
 */
export function createResponseWriter(options: AnswerOptions): ResponseWriter {
  const customTools = customToolNames(options.request);
  const items: OutputItem[] = [];
  const calls: CallItem[] = [];
  /** By the number of the canonical part. */
  const slots: (ContentItem | ReasoningItem | CallItem | undefined)[] = [];
  const reasoningIds = new Set<string>();
  let message: MessageItem | undefined;
  let content: ContentItem | undefined;
  let reasoning: ReasoningItem | undefined;
  let usage: Usage | undefined;
  let frames: Frame[] = [];
  let sequence = 0;
  /** What does not change in the Response, once it has begun. */
  let head: { readonly text: string; readonly echo: string } | undefined;
  let suffix = "";
  let serviceTier: string | null = null;
  let answer = "";

  function write(event: GenerateEvent): readonly Frame[] {
    if (answer !== "") return noFrames;
    frames = [];
    const { kind } = event;
    switch (kind.case) {
      case "start":
        begin(kind.value);
        break;
      case "delta":
        if (kind.value.choice === 0) append(kind.value);
        break;
      case "citation":
        if (kind.value.choice === 0 && kind.value.citation !== undefined) cite(kind.value.part, kind.value.citation);
        break;
      case "usage":
        usage = { ...usage, ...kind.value };
        break;
      case "end":
        end(kind.value);
        break;
      default: // warnings stand in the answer's headers
    }
    return frames;
  }

  /** `members` without the sequence number and the closing brace. */
  function emit(type: string, members: string): void {
    frames.push({ type, data: `${members},"sequence_number":${sequence}}` });
    sequence += 1;
  }

  function emitJson(type: string, members: object): void {
    emit(type, JSON.stringify({ type, ...members }).slice(0, -1));
  }

  function begin(start?: ReplyStart): void {
    if (head !== undefined) return;
    const vendorId = start?.id ?? "";
    const id = withPrefix(vendorId.startsWith("resp_") ? vendorId : options.id);
    suffix = id
      .slice("resp_".length)
      .replace(/[^\w-]/g, "")
      .slice(0, suffixLengthMax);
    const createdAt =
      start?.createTime === undefined ? Math.floor(options.createTimeMs / 1_000) : Number(start.createTime.seconds);
    serviceTier = tierOf(start?.serviceTier);
    const model = JSON.stringify(start?.model || options.model);
    head = {
      text: `"id":${JSON.stringify(id)},"object":"response","created_at":${createdAt},"model":${model}`,
      echo: writeEcho(options.request),
    };
    const response = responseJson(
      JSON.stringify({ status: "in_progress", ...nothingWrong, service_tier: serviceTier, output: [] }),
    );
    for (const type of ["response.created", "response.in_progress"]) {
      emit(type, `{"type":"${type}","response":${response}`);
    }
  }

  /** `state`: an object of the members that change. */
  function responseJson(state: string): string {
    return `{${head?.text ?? ""},${state.slice(1, -1)},${head?.echo ?? ""}}`;
  }

  function append({ part, content: piece, logprobs }: ReplyDelta): void {
    begin();
    switch (piece.case) {
      case "text":
        return say(part, "output_text", piece.value, logprobs);
      case "refusal":
        return say(part, "refusal", piece.value, []);
      case "reasoning":
        return think(part, piece.value);
      case "toolCall":
        return call(part, piece.value);
      case "image":
        return show(piece.value);
      case "audio":
        throw unsupported("The reply holds sound, which this API cannot carry.", "modalities");
      default:
    }
  }

  function say(part: number, kind: ContentItem["kind"], text: string, logprobs: readonly TokenLogprob[]): void {
    const slot = slots[part];
    const target = slot?.kind === kind && slot.open ? slot : openContent(part, kind);
    if (text === "" && logprobs.length === 0) return;
    target.text += text;
    const delta = `${target.deltaHead}${JSON.stringify(text)}`;
    if (kind === "refusal") return emit("response.refusal.delta", delta);
    if (logprobs.length === 0) return emit("response.output_text.delta", `${delta},"logprobs":[]`);
    const written = writeLogprobs(logprobs);
    target.logprobs.push(...written);
    emit("response.output_text.delta", `${delta},"logprobs":${JSON.stringify(written)}`);
  }

  function openContent(part: number, kind: ContentItem["kind"]): ContentItem {
    closeReasoning("completed");
    closeContent();
    if (message === undefined) {
      message = { kind: "message", index: items.length, id: `msg_${suffix}_${items.length}`, contents: [] };
      addItem(message);
    }
    const index = message.contents.length;
    const type = kind === "refusal" ? "response.refusal.delta" : "response.output_text.delta";
    content = {
      kind,
      message,
      index,
      open: true,
      text: "",
      annotations: [],
      logprobs: [],
      deltaHead: `{"type":"${type}","item_id":"${message.id}","output_index":${message.index},"content_index":${index},"delta":`,
    };
    message.contents.push(content);
    slots[part] = content;
    emitJson("response.content_part.added", { ...placeOf(content), part: contentJson(content) });
    return content;
  }

  function cite(part: number, citation: Citation): void {
    begin();
    const slot = slots[part];
    const target = slot?.kind === "output_text" ? slot : openContent(part, "output_text");
    const annotation = writeAnnotation(citation);
    const place = { ...placeOf(target), annotation_index: target.annotations.length };
    target.annotations.push(annotation);
    emitJson("response.output_text.annotation.added", { ...place, annotation });
  }

  function think(part: number, delta: ReasoningDelta): void {
    const slot = slots[part];
    const target = slot?.kind === "reasoning" && slot.open ? slot : openReasoning(part, delta.id);
    if (delta.signature.length > 0) target.signature = delta.signature;
    if (delta.sealed.length > 0) target.sealed = delta.sealed;
    if (delta.text === "") return;
    if (!target.hasSummary) {
      target.hasSummary = true;
      emitJson("response.reasoning_summary_part.added", {
        ...summaryPlaceOf(target),
        part: { type: "summary_text", text: "" },
      });
    }
    target.text += delta.text;
    emit("response.reasoning_summary_text.delta", `${target.deltaHead}${JSON.stringify(delta.text)}`);
  }

  function openReasoning(part: number, vendorId: string): ReasoningItem {
    closeSpoken("completed");
    const index = items.length;
    const id = vendorId === "" || reasoningIds.has(vendorId) ? makeReasoningId(`${suffix}_${index}`) : vendorId;
    reasoningIds.add(id);
    reasoning = {
      kind: "reasoning",
      index,
      id,
      open: true,
      text: "",
      hasSummary: false,
      signature: noBytes,
      sealed: noBytes,
      encrypted: "",
      deltaHead: `{"type":"response.reasoning_summary_text.delta","item_id":${JSON.stringify(id)},"output_index":${index},"summary_index":0,"delta":`,
    };
    addItem(reasoning);
    slots[part] = reasoning;
    return reasoning;
  }

  function call(part: number, delta: ToolCallDelta): void {
    const slot = slots[part];
    const begun = slot !== undefined && "callId" in slot;
    const target = begun ? slot : openCall(part, delta);
    if (begun && delta.signature.length > 0) target.lateSignature = delta.signature;
    if (delta.arguments === "") return;
    target.text += delta.arguments;
    emit(callEvent(target, "delta"), `${target.deltaHead}${JSON.stringify(delta.arguments)}`);
  }

  function openCall(part: number, { id: vendorId, name, signature }: ToolCallDelta): CallItem {
    closeSpoken("completed");
    const callId = vendorId === "" ? `call_${suffix}_${part}` : vendorId;
    if (signature.length > 0) addSignature(callId, signature);
    const index = items.length;
    const kind = customTools.has(name) ? "custom_tool_call" : "function_call";
    const id = `${kind === "function_call" ? "fc" : "ctc"}_${suffix}_${index}`;
    const type = callEvent({ kind }, "delta");
    const deltaHead = `{"type":"${type}","item_id":"${id}","output_index":${index},"delta":`;
    const item: CallItem = { kind, index, id, callId, name, text: "", lateSignature: noBytes, deltaHead };
    calls.push(item);
    addItem(item);
    slots[part] = item;
    return item;
  }

  /** An item of its own for what a call's maker wants back with it. */
  function addSignature(callId: string, signature: Uint8Array): void {
    const index = items.length;
    const item: ReasoningItem = {
      kind: "reasoning",
      index,
      id: makeReasoningId(`${suffix}_${index}`),
      open: false,
      text: "",
      hasSummary: false,
      signature,
      sealed: noBytes,
      encrypted: writeSealed({ signature, sealed: noBytes, callId }),
      deltaHead: "",
    };
    addItem(item);
    finishItem(item, "completed");
  }

  function show({ source }: Media): void {
    if (source.case !== "data") {
      throw unsupported("The reply holds a picture without its bytes, which this API cannot carry.", "modalities");
    }
    closeSpoken("completed");
    const index = items.length;
    const id = `ig_${suffix}_${index}`;
    const item: OutputItem = { kind: "image_generation_call", index, id, result: writeBase64(source.value) };
    addItem(item);
    emitJson("response.image_generation_call.completed", { item_id: id, output_index: index });
    finishItem(item, "completed");
  }

  function addItem(item: OutputItem): void {
    items.push(item);
    emitJson("response.output_item.added", { output_index: item.index, item: itemJson(item, "in_progress") });
  }

  function finishItem(item: OutputItem, status: ItemStatus): void {
    emitJson("response.output_item.done", { output_index: item.index, item: itemJson(item, status) });
  }

  /** Closes the message or the reasoning that is open. */
  function closeSpoken(status: ItemStatus): void {
    closeContent();
    if (message !== undefined) finishItem(message, status);
    message = undefined;
    closeReasoning(status);
  }

  function closeContent(): void {
    if (content === undefined) return;
    const { kind, text, logprobs } = content;
    content.open = false;
    const place = placeOf(content);
    if (kind === "refusal") emitJson("response.refusal.done", { ...place, refusal: text });
    else emitJson("response.output_text.done", { ...place, text, logprobs });
    emitJson("response.content_part.done", { ...place, part: contentJson(content) });
    content = undefined;
  }

  function closeReasoning(status: ItemStatus): void {
    if (reasoning === undefined) return;
    const { text, signature, sealed } = reasoning;
    reasoning.open = false;
    reasoning.encrypted = writeSealed({ signature, sealed, callId: "" });
    if (reasoning.hasSummary) {
      const place = summaryPlaceOf(reasoning);
      emitJson("response.reasoning_summary_text.done", { ...place, text });
      emitJson("response.reasoning_summary_part.done", { ...place, part: { type: "summary_text", text } });
    }
    finishItem(reasoning, status);
    reasoning = undefined;
  }

  function closeCall(item: CallItem, status: ItemStatus): void {
    const whole = item.kind === "function_call" ? { arguments: item.text } : { input: item.text };
    emitJson(callEvent(item, "done"), { item_id: item.id, output_index: item.index, ...whole });
    finishItem(item, status);
    if (item.lateSignature.length > 0) addSignature(item.callId, item.lateSignature);
  }

  function end({ choices, usage: last, details }: ReplyEnd): void {
    begin();
    const { status, reason } = writeStop(choices[0]);
    const lastItem = items.at(-1);
    const statusOf = (item: OutputItem | undefined) => (item === lastItem ? status : "completed");
    const statuses = items.map(statusOf);
    for (const item of calls) closeCall(item, statusOf(item));
    closeSpoken(status);
    const output = items.map((item, index) => itemJson(item, statuses[index] ?? "completed"));
    const state = {
      status,
      ...nothingWrong,
      ...(reason === undefined ? {} : { incomplete_details: { reason } }),
      service_tier: tierOf(details?.["service_tier"]) ?? serviceTier,
      output,
      ...writeUsage(last ?? usage),
    };
    answer = responseJson(JSON.stringify(state));
    emit(`response.${status}`, `{"type":"response.${status}","response":${answer}`);
  }

  return { write, response: () => answer };
}

function tierOf(tier: unknown): string | null {
  return typeof tier === "string" && serviceTiers.has(tier) ? tier : null;
}

function withPrefix(id: string): string {
  return id.startsWith("resp_") ? id : `resp_${id}`;
}

function placeOf({ message, index }: ContentItem) {
  return { item_id: message.id, output_index: message.index, content_index: index };
}

function summaryPlaceOf({ id, index }: ReasoningItem) {
  return { item_id: id, output_index: index, summary_index: 0 };
}

function callEvent({ kind }: Pick<CallItem, "kind">, what: "delta" | "done"): string {
  return kind === "function_call"
    ? `response.function_call_arguments.${what}`
    : `response.custom_tool_call_input.${what}`;
}
