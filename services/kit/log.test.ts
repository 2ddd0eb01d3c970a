import { closeSync, mkdtempSync, openSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test, vi } from "vitest";
import { createLog, type LogFields, type LogLevel, silentLog } from "./log.ts";
import { WeirError } from "./weir-error.ts";

function lines(level: LogLevel = "debug") {
  const written: string[] = [];
  const log = createLog({ service: "router", level, destination: { write: (line) => void written.push(line) } });
  return { log, written, last: () => JSON.parse(written.at(-1) ?? "null") as Record<string, unknown> };
}

test("a line is JSON with time, level, service, fields and message", () => {
  const { log, last, written } = lines();
  log.info({ request_id: "r1", attempts: 2, cost: 12n, streamed: true, kinds: ["a", 1] }, "request answered");
  expect(written[0]?.endsWith("\n")).toBe(true);
  const line = last();
  expect(line).toMatchObject({
    level: "info",
    service: "router",
    message: "request answered",
    request_id: "r1",
    attempts: 2,
    cost: "12",
    streamed: true,
    kinds: ["a", 1],
  });
  expect(new Date(line.time as string).toISOString()).toBe(line.time);
});

test("levels below the threshold write nothing", () => {
  const { log, written } = lines("warn");
  log.debug({}, "no");
  log.info({}, "no");
  log.warn({}, "yes");
  log.error({}, "yes");
  expect(written).toHaveLength(2);
  silentLog.error({}, "no");
});

test.each<LogFields>([
  { authorization: "Bearer CANARY-1" },
  { Authorization: "CANARY-1" },
  { api_key: "CANARY-1" },
  { apiKey: "CANARY-1" },
  { "x-api-key": "CANARY-1" },
  { prompt: "CANARY-1" },
  { messages: [{ content: "CANARY-1" }] },
  { request: { messages: "CANARY-1" } },
  { list: [{ a: "CANARY-1" }] },
  { key_secret: "CANARY-1" },
  { note: "sent Bearer CANARY-1 upstream" },
  { note: "with sk-CANARY-1abcdefgh" },
  { note: "weir_abcdefghijklmnop_CANARY-1" },
  { error: new Error("CANARY-1") },
  { error: new Error("first\n    at CANARY-1") },
  { error: "CANARY-1" },
  { error: { message: "CANARY-1" } },
  { error: new WeirError(ErrorReason.INTERNAL, { cause: new TypeError("CANARY-1") }) },
  { failure: new Error("outer", { cause: new Error("CANARY-1") }) },
])("what must not be logged is not: %o", (fields) => {
  const { log, written } = lines();
  log.error(fields, "failed");
  expect(written.join("")).toContain('"failed"');
  expect(written.join("")).not.toContain("CANARY-1");
});

test("an error is its type, reason, code and stack; only a WeirError keeps its text", () => {
  const { log, last } = lines();
  const cause = Object.assign(new Error("connect 10.0.0.1"), { code: "ECONNREFUSED" });
  log.error(
    { error: new WeirError(ErrorReason.STORE_UNAVAILABLE, { text: "The ledger does not answer.", cause }) },
    "x",
  );
  const error = last().error as Record<string, unknown>;
  expect(error).toMatchObject({
    type: "WeirError",
    reason: "STORE_UNAVAILABLE",
    text: "The ledger does not answer.",
    cause: { type: "Error", code: "ECONNREFUSED" },
  });
  expect((error.stack as string[])[0]).toContain("log.test.ts");
});

test("a chain of causes that closes on itself ends", () => {
  const { log, last } = lines();
  const error = new Error("a");
  error.cause = error;
  log.warn({ error }, "x");
  expect(last().error).toMatchObject({ type: "Error" });
});

test("a long text is cut", () => {
  const { log, written } = lines();
  log.info({ note: "x".repeat(100_000) }, "x");
  expect(written[0]?.length).toBeLessThan(3_000);
});

test("to a file: a warning is written at once, a flush writes the rest", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "weir-log-")), "out");
  const file = openSync(path, "w");
  const log = createLog({ service: "router", level: "info", destination: file });
  log.info({ n: 1 }, "first");
  log.warn({ n: 2 }, "second");
  await vi.waitFor(() => expect(readFileSync(path, "utf8")).toContain("second"));
  log.info({ n: 3 }, "third");
  log.flush();
  expect(readFileSync(path, "utf8").trim().split("\n")).toHaveLength(3);
  closeSync(file);
});
