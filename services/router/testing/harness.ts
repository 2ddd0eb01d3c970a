import { create } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { Meter } from "@opentelemetry/api";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ChatService, type GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import {
  AttemptService,
  type RunAttemptRequest,
  RunAttemptResponseSchema,
} from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { type CallOptions, hostService, requestMetadata } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import type { Clock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { WeirError, type WeirErrorOptions } from "@weir/kit/weir-error";
import { createPriceList } from "@weir/price/price";
import { uuidv7 } from "uuidv7";
import { expect } from "vitest";
import { createRouter } from "../service.ts";
import { routingFromConfig } from "../snapshot.ts";

/** Time that stands still until a test moves it. */
function createStillClock(): Clock & { advance(ms: number): void; readonly timers: number } {
  let time = 0;
  let timers: { at: number; call: () => void }[] = [];
  return {
    now: () => 1_700_000_000_000 + time,
    monotonic: () => time,
    after(delayMs, call) {
      const timer = { at: time + delayMs, call };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(ms) {
      time += ms;
      const due = timers.filter((timer) => timer.at <= time);
      timers = timers.filter((timer) => timer.at > time);
      for (const timer of due) timer.call();
    },
    get timers() {
      return timers.length;
    },
  };
}

/** What a target does with one attempt: fails, answers, or anything else. */
type Act = WeirError | "answer" | ((signal: AbortSignal) => AsyncGenerator<object>);

export const head = (text = "", status = 200) => ({
  payload: { case: "wire" as const, value: { head: { status }, data: Buffer.from(text) } },
});
export const more = (text: string) => ({ payload: { case: "wire" as const, value: { data: Buffer.from(text) } } });
export const tail = () => ({ payload: { case: "wire" as const, value: { tail: {} } } });

export async function* answer() {
  yield head("a");
  yield more("b");
  yield tail();
}

export const error = (reason: WeirError["reason"], options?: WeirErrorOptions) => new WeirError(reason, options);
export const outage = () => error(ErrorReason.PROVIDER_UNAVAILABLE, { text: "CANARY", metadata: { cause: "server" } });

type ConfigInit = Exclude<Parameters<typeof create<typeof ConfigSchema>>[1], undefined>;

/** A router behind a local door, before a pool behind another; the script says what each target does, in turn. */
export function setup(script: Record<string, Act[]>, config: ConfigInit = {}, meter: Meter = noTelemetry.meter) {
  const clock = createStillClock();
  const calls: {
    target: string;
    request: RunAttemptRequest;
    timeoutMs: number | undefined;
    metadata: (name: string) => string | undefined;
  }[] = [];
  const ended: string[] = [];
  const pool = hostService(AttemptService, {
    async *runAttempt(request, context) {
      const { provider = "", model = "" } = request.target ?? {};
      calls.push({
        target: provider,
        request,
        timeoutMs: context.timeoutMs(),
        metadata: (name) => requestMetadata(context, name),
      });
      const acts = script[provider];
      const act = (acts && acts.length > 1 ? acts.shift() : acts?.[0]) ?? "answer";
      expect(model).toBe("m");
      try {
        if (act instanceof WeirError) throw act;
        for await (const message of act === "answer" ? answer() : act(context.signal)) {
          yield create(RunAttemptResponseSchema, message);
        }
      } finally {
        ended.push(provider);
      }
    },
  });
  const targets = Object.keys(script).map((provider) => ({ provider, model: "m" }));
  const full = create(ConfigSchema, { aliases: { alias: { targets, allowUnpriced: true } }, ...config });
  const snapshot = routingFromConfig(full, createPriceList([]), 5_000);
  const router = createRouter({
    attempts: createClient(AttemptService, createLocalDoor([pool])),
    forwards: createClient(ForwardAttemptService, createLocalDoor([])),
    routing: () => snapshot,
    clock,
    random: () => 0.5,
    newAttemptId: uuidv7,
    meter,
    tracer: noTelemetry.tracer,
    log: silentLog,
  });
  const door = createLocalDoor([hostService(ChatService, router.chat), hostService(RouteService, router.routes)]);
  const chat = createClient(ChatService, door);
  const routes = createClient(RouteService, door);
  const wire = { dialect: Dialect.OPENAI_CHAT, body: Buffer.from("{}"), model: { start: 0, end: 0 } };
  const generate = (options?: CallOptions, model = "alias") => chat.generate({ model, wire }, options);
  return {
    clock,
    calls,
    ended,
    routes,
    chat,
    generate,
    tried: () => calls.map((call) => call.target).join(" "),
    ask: (options?: CallOptions) => read(generate(options)),
    health: async () => {
      const { targets: list } = await routes.listTargetHealth({});
      return Object.fromEntries(list.map(({ target, state }) => [target?.provider, state]));
    },
  };
}

export async function read(stream: AsyncIterable<GenerateResponse>) {
  let text = "";
  let attempts: number | undefined;
  for await (const { payload } of stream) {
    if (payload.case !== "wire") throw new Error("not wire");
    text += Buffer.from(payload.value.data).toString();
    attempts ??= payload.value.head?.attempts;
  }
  return { text, attempts };
}

export const milliseconds = (duration: Duration | undefined) => duration && durationMs(duration);

export const failure = async (promise: Promise<unknown>): Promise<WeirError> => {
  const thrown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (thrown instanceof WeirError) return thrown;
  throw new Error("expected a WeirError", { cause: thrown });
};

/** Waits until the call is over. */
export const hang = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
