import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading } from "../codec.ts";
import { endEvent, startEvent } from "../events.ts";
import type { JsonObject } from "../json.ts";
import { createOutputReader } from "./output-reader.ts";
import { readStop } from "./stop-reason.ts";
import { readUsage } from "./usage.ts";

/** Statuses of a Response that is no answer, or not yet. */
const unfinished: ReadonlySet<unknown> = new Set(["queued", "in_progress", "failed", "cancelled"]);

/** Reads a Response; undefined when the body is none, or one without an answer. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const output = body["output"];
  if (!Array.isArray(output) || unfinished.has(body["status"])) return undefined;
  const events: GenerateEvent[] = [readStart(body)];
  const reader = createOutputReader();
  for (const [index, item] of (output as readonly unknown[]).entries()) {
    if (!reader.settle(index, item, events)) return undefined;
  }
  const usage = readUsage(body);
  events.push(endEvent([readStop(body, reader.hasToolCalls)], usage?.usage));
  return { events, usage };
}

const idLengthMax = 256;
const createTimeMaxS = 253_402_300_799;

/** Reads how a reply begins. */
export function readStart(response: JsonObject): GenerateEvent {
  const { id, model, created_at: createdAt } = response;
  const dated = typeof createdAt === "number" && createdAt > 0 && createdAt <= createTimeMaxS;
  return startEvent({
    id: typeof id === "string" && id.length <= idLengthMax ? id : "",
    model: typeof model === "string" ? model : "",
    createTimeMs: dated ? createdAt * 1_000 : undefined,
    serviceTier: readServiceTier(response),
  });
}

/** The tier that was served; empty while there is only what was asked for. */
export function readServiceTier({ service_tier: tier }: JsonObject): string {
  return typeof tier === "string" && tier !== "auto" ? tier : "";
}
