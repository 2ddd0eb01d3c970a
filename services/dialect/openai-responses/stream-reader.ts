import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, StreamFault, UsageReading } from "../codec.ts";
import { endEvent } from "../events.ts";
import { isObject, type JsonObject, parseObject } from "../json.ts";
import { readServiceTier, readStart } from "./answer-reader.ts";
import { readError } from "./errors.ts";
import { createOutputReader } from "./output-reader.ts";
import { readStop } from "./stop-reason.ts";
import { readUsage } from "./usage.ts";

/** Creates the reader of one stream. It is complete with `response.completed` or `response.incomplete`, and not before. */
export function createFrameReader(): FrameReader {
  const output = createOutputReader();
  let started = false;
  let serviceTier = "";
  const facts: { complete: boolean; fault: StreamFault | undefined; usage: UsageReading | undefined } = {
    complete: false,
    fault: undefined,
    usage: undefined,
  };

  function read(frameType: string, data: string, out: GenerateEvent[]): void {
    if (facts.complete || facts.fault !== undefined || isEmpty(data)) return;
    const json = parseObject(data);
    if (json === undefined || !readEvent(json["type"] ?? frameType, json, out)) facts.fault ??= { kind: "malformed" };
  }

  /** Returns whether the event fits what came before. */
  function readEvent(type: unknown, json: JsonObject, out: GenerateEvent[]): boolean {
    const index = json["output_index"];
    switch (type) {
      case "response.output_text.delta":
        return appendContent("output_text", json, out);
      case "response.refusal.delta":
        return appendContent("refusal", json, out);
      case "response.function_call_arguments.delta":
      case "response.custom_tool_call_input.delta":
        return output.appendArguments(index, json["delta"], out);
      case "response.reasoning_summary_text.delta":
        return appendReasoning("summary", json["summary_index"], json, out);
      case "response.reasoning_text.delta":
        return appendReasoning("content", json["content_index"], json, out);
      case "response.output_item.added":
        return started && output.add(index, json["item"], out);
      case "response.content_part.added":
        return output.addContent(index, json["content_index"], json["part"]);
      case "response.output_text.annotation.added":
        return output.annotate(index, json["content_index"], json["annotation"], out);
      case "response.function_call_arguments.done":
        return output.settleArguments(index, json["arguments"], out);
      case "response.custom_tool_call_input.done":
        return output.settleArguments(index, json["input"], out);
      case "response.output_item.done":
        return started && output.settle(index, json["item"], out);
      case "response.created":
      case "response.queued":
      case "response.in_progress":
        return begin(json["response"], out);
      case "response.completed":
      case "response.incomplete":
        return end(json["response"], out);
      default:
        return readOther(type, json);
    }
  }

  function appendContent(kind: "output_text" | "refusal", json: JsonObject, out: GenerateEvent[]): boolean {
    const piece = { kind, text: json["delta"], logprobs: json["logprobs"] };
    return output.appendContent(json["output_index"], json["content_index"], piece, out);
  }

  function appendReasoning(
    kind: "summary" | "content",
    section: unknown,
    json: JsonObject,
    out: GenerateEvent[],
  ): boolean {
    return output.appendReasoning(json["output_index"], { kind, section, text: json["delta"] }, out);
  }

  function begin(response: unknown, out: GenerateEvent[]): boolean {
    if (!isObject(response)) return false;
    facts.usage = readUsage(response) ?? facts.usage;
    if (started) return true;
    started = true;
    serviceTier = readServiceTier(response);
    out.push(readStart(response));
    return true;
  }

  function end(response: unknown, out: GenerateEvent[]): boolean {
    if (!isObject(response) || !begin(response, out)) return false;
    const items = response["output"];
    // A provider that streamed no item has them all here.
    if (!output.hasItems && Array.isArray(items)) {
      for (const [index, item] of (items as readonly unknown[]).entries()) {
        if (!output.settle(index, item, out)) return false;
      }
    }
    // Only the last event knows the tier for certain.
    const tier = readServiceTier(response);
    const details = tier === "" || tier === serviceTier ? undefined : { service_tier: tier };
    out.push(endEvent([readStop(response, output.hasToolCalls)], facts.usage?.usage, details));
    facts.complete = true;
    return true;
  }

  /** Events that report an error; all others are signs of life, or of tools that the provider runs itself. */
  function readOther(type: unknown, json: JsonObject): boolean {
    const response = json["response"];
    if (isObject(response)) facts.usage = readUsage(response) ?? facts.usage;
    const error = readError(json) ?? (type === "error" || type === "response.failed" ? unnamed : undefined);
    if (error !== undefined) facts.fault = { kind: "error", error };
    return true;
  }

  function finish(): void {
    if (!facts.complete) facts.fault ??= { kind: "malformed" };
  }

  return Object.assign(facts, { read, finish });
}

const unnamed = { code: "", type: "" };

/** A sign of life, or the end mark of another dialect, which some providers send here too. */
function isEmpty(data: string): boolean {
  return data.length <= 16 && /^\s*(?:\[DONE\]\s*)?$/.test(data);
}
