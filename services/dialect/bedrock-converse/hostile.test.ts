import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type JsonObject, parseExact, writeJson } from "../json.ts";
import { bedrockConverse } from "./codec.ts";
import { askingRequest, replies } from "./testing/replies.ts";
import { expressible } from "./testing/requests.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);
const timeoutMs = 20_000 + numRuns * 20;

const secret = "SECRETWORD";

/** A value in place of a right one. */
const odd = fc.constantFrom<unknown>(null, true, 0, -1, 0.5, 1e300, "", secret, [], {}, [secret], { [secret]: 1 }, [
  [],
]);

/** A copy of JSON in which one value, chosen by a fraction of all values, is replaced. */
function damaged(json: unknown, where: number, by: unknown): unknown {
  let left = Math.floor(where * count(json));
  const copy = (value: unknown): unknown => {
    left -= 1;
    if (left === -1) return by;
    if (Array.isArray(value)) return value.map(copy);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, copy(inner)]));
  };
  return copy(json);
}

function count(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum: number, inner) => sum + count(inner), 1);
}

const fraction = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const options = { id: "x", createTimeMs: 0, model: "m", includeUsage: true, request: askingRequest };

test(
  "whatever a client sends is read, or refused with the place of the fault and without its words",
  () => {
    fc.assert(
      fc.property(expressible, fraction, odd, ({ model, request }, where, by) => {
        const { body } = bedrockConverse.writeRequest(request, { model, stream: true, maxOutputTokensDefault: 5_000 });
        const text = JSON.stringify(damaged(JSON.parse(writeJson(body)), where, by));
        for (const read of [bedrockConverse.readRequest, bedrockConverse.readEnvelope]) {
          try {
            read(parseExact(text) ?? {});
          } catch (error) {
            if (!(error instanceof WeirError)) throw error;
            expect([ErrorReason.INVALID_REQUEST, ErrorReason.TARGET_UNSUPPORTED]).toContain(error.reason);
            expect(error.metadata["param"]).toMatch(/^[\w.[\]]+$/);
            expect(error.message.replace(error.metadata["param"] ?? "", "")).not.toContain(secret);
          }
        }
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  "whatever a provider answers is an answer or none, and can be written for a client",
  () => {
    fc.assert(
      fc.property(replies, fraction, odd, (events, where, by) => {
        const body: unknown = JSON.parse(bedrockConverse.writeAnswer(events, options));
        const json = damaged(body, where, by);
        if (typeof json !== "object" || json === null) return;
        const reading = bedrockConverse.readAnswer(json as JsonObject);
        if (reading !== undefined) JSON.parse(bedrockConverse.writeAnswer(reading.events, options));
        bedrockConverse.readError(json as JsonObject);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  "whatever a provider streams is read, or is one fault after which nothing comes",
  () => {
    fc.assert(
      fc.property(replies, fraction, fraction, odd, (events, frame, where, by) => {
        const writer = bedrockConverse.createFrameWriter(options);
        const frames = events.flatMap((event) => [...writer.write(event)]);
        const broken = Math.floor(frame * frames.length);
        const reader = bedrockConverse.createFrameReader();
        const read: GenerateEvent[] = [];
        let over = false;
        for (const [index, { type, data }] of frames.entries()) {
          const before = read.length;
          reader.read(type, index === broken ? JSON.stringify(damaged(JSON.parse(data), where, by)) : data, read);
          if (over) expect(read).toHaveLength(before);
          over = reader.complete || reader.fault !== undefined;
        }
        reader.finish(read);
        expect(reader.complete).toBe(reader.fault === undefined);
        expect(read.filter(({ kind }) => kind.case === "start").length).toBeLessThanOrEqual(1);
        expect(read.filter(({ kind }) => kind.case === "end")).toHaveLength(reader.complete ? 1 : 0);
        const next = bedrockConverse.createFrameWriter(options);
        for (const event of read) for (const { data } of next.write(event)) JSON.parse(data);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);
