import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Meter, Span, Tracer } from "@opentelemetry/api";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type {
  AttemptService,
  RunAttemptRequest,
  RunAttemptResponse,
} from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import type { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";
import {
  type CallTrace,
  type Client,
  hasEnded,
  metadataNames,
  onCallEnd,
  requestMetadata,
  requestTrace,
} from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { CounterStore } from "@weir/kit/limits/limiter";
import type { Log } from "@weir/kit/log";
import { endSpan, joinTrace } from "@weir/kit/telemetry/trace-context";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { Price, PriceList } from "@weir/price/price";
import { answerStream } from "./answer-stream.ts";
import { logFailure, toIntent, toUsageEvent } from "./attempt-record.ts";
import type { AttemptEnd, AttemptPlan } from "./attempt-plan.ts";
import { Attempt, closing } from "./attempt.ts";
import { readTimeouts } from "./attempt-timeouts.ts";
import { type CallLimit, createCallLimit } from "./call-limit.ts";
import { unavailable } from "./classify.ts";
import { createConnections } from "./connections.ts";
import type { Budgets } from "./budgets/budgets.ts";
import type { CallHold } from "./budgets/call-hold.ts";
import { createBatches } from "./embeddings/batches.ts";
import type { Journal } from "./journal/journal.ts";
import { createMeasures, outcomeWord } from "./measures.ts";
import { startBatchKeeper } from "./passthrough/batch-keeper.ts";
import { createForwarding } from "./passthrough/forwarding.ts";
import { createPrincipalReader } from "./principals.ts";
import type { ProviderSet, ProviderSettings } from "./provider-set.ts";
import { createKeys, type KeyUse } from "./providers/key-use.ts";
import { createProviderLimits, endTaking } from "./provider-limits.ts";
import { createRecentIds } from "./recent-ids.ts";
import { countTokens } from "./token-count.ts";
import { prepareCall, type UpstreamCall } from "./upstream.ts";
import { type AskedTier, inDearerTier, reserve } from "./usage-counts.ts";

export interface PoolOptions {
  /** The configuration in force; asked at every attempt. */
  readonly providers: () => ProviderSet;
  readonly prices: () => PriceList;
  readonly journal: Pick<Journal, "intend" | "progress" | "settle">;
  /** What every attempt has to keep within. */
  readonly budgets: Pick<Budgets, "hold" | "holdBatch" | "about">;
  /** Where limits of providers are that several pools share. Undefined: this one counts for itself. */
  readonly limitStore?: CounterStore | undefined;
  readonly clock: Clock;
  /** A new UUID of version 7: each response of a session of Realtime is an attempt. */
  readonly newAttemptId: () => string;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly log: Log;
}

export interface PoolStatus {
  /** Attempts under way, waiting ones not counted. */
  readonly openAttempts: number;
  /** Of those, answers that are read on for their usage after their caller has gone. */
  readonly draining: number;
  readonly providers: readonly { readonly id: string; readonly calls: number; readonly waiting: number }[];
}

export interface Pool {
  readonly service: ServiceImpl<typeof AttemptService>;
  readonly forwarding: ServiceImpl<typeof ForwardAttemptService>;
  status(): PoolStatus;
  /** Settles batches that have ended, from now until `close`. Called again it begins anew. */
  keepBatches(service: Pick<Client<typeof BatchService>, "claimBatches" | "settleBatch">): void;
  /**
   * Ends all attempts, each with its settlement, and closes all connections. Call it when the doors have drained and before
   * the journal is closed.
   */
  close(): Promise<void>;
}

/** Longest wait for a place under a provider's limit. */
const queueWaitMs = 10_000;
const drainsMax = 256;
const noBody = new Uint8Array();
const recentIdsMin = 16_384;

/** Creates the pool. */
export function createPool(options: PoolOptions): Pool {
  const { clock, journal, tracer, log } = options;
  const connections = createConnections();
  const keys = createKeys({ clock, log, dispatcherOf: (origin) => connections.of(origin) });
  const limits = new Map<string, CallLimit>();
  const providerLimits = createProviderLimits({ clock, store: options.limitStore });
  const readPrincipal = createPrincipalReader();
  const recentIds = createRecentIds(recentIdsMin);
  const batches = createBatches({
    clock,
    keys,
    takePlace,
    leavePlace: ({ provider }) => limitOf(provider.id).leave(),
    intend,
    begin,
    isClosed: () => closed,
  });
  const attempts = new Set<Attempt>();
  let openStreams = 0;
  let draining = 0;
  let lastSet: ProviderSet | undefined;
  let closed = false;
  let stopBatchKeeper = () => {};
  const measures = createMeasures(options.meter, {
    openStreams: () => openStreams,
    draining: () => draining,
    limits: () => limits,
  });

  const forwarding = createForwarding({
    clock,
    providers: providerSet,
    prices: options.prices,
    journal,
    budgets: options.budgets,
    keys,
    dispatcherOf: (origin) => connections.of(origin),
    enter: (provider, signal) => limitOf(provider.id).enter(provider, queueWaitMs, signal),
    leave: (provider) => limitOf(provider.id).leave(),
    allow: (provider) => providerLimits.take(provider, { body: noBody, outputTokensMax: undefined }),
    isNew: (attemptId) => recentIds.add(attemptId),
    newAttemptId: options.newAttemptId,
    readPrincipal,
    measures,
    log,
  });

  /** The configuration in force; when it is a new one, what it no longer names is given up. */
  function providerSet(): ProviderSet {
    const set = options.providers();
    if (set === lastSet) return set;
    lastSet = set;
    connections.keepOnly(new Set(set.providers.map((provider) => provider.origin)));
    for (const [id, limit] of limits) {
      if (set.get(id) === undefined && limit.calls === 0 && limit.waiting === 0) limits.delete(id);
    }
    return set;
  }

  function limitOf(id: string): CallLimit {
    let limit = limits.get(id);
    if (limit === undefined) limits.set(id, (limit = createCallLimit(clock)));
    return limit;
  }

  function takePlace({ provider, timeouts }: AttemptPlan, signal: () => AbortSignal): Promise<void> | undefined {
    return limitOf(provider.id).enter(provider, Math.min(queueWaitMs, timeouts.totalMs), signal);
  }

  /** Gets an attempt under way. A call that joined others gets its whole answer instead. */
  async function open(request: RunAttemptRequest, context: HandlerContext): Promise<Attempt | RunAttemptResponse> {
    const startMs = clock.monotonic();
    const startTimeMs = clock.now();
    const set = providerSet();
    const { generate, target, provider } = readRequest(request, set);
    const principal = readPrincipal(requestMetadata(context, metadataNames.principal));
    const price = options.prices().find(target, startTimeMs);
    if (price === undefined && !request.allowUnpriced) {
      throw new WeirError(ErrorReason.MODEL_UNPRICED, { metadata: { model: request.alias } });
    }
    const call = prepareCall(generate, provider, {
      attemptId: request.attemptId,
      startTimeMs,
      model: target.model,
    });
    const { wire } = generate;
    const requestBody = wire?.body ?? call.body;
    // Of a canonical request the limit is for each reply, of a wire request for all of them.
    const outputTokensMax =
      wire === undefined ? times(generate.maxOutputTokens, generate.choiceCount) : wire.maxOutputTokens;
    const choiceCount = (wire === undefined ? generate.choiceCount : wire.choiceCount) ?? 1;
    const askedTier = askedTierOf(call, price);
    const reserved = inDearerTier(reserve(requestBody.length, outputTokensMax, choiceCount), askedTier);
    if (!recentIds.add(request.attemptId)) {
      throw new WeirError(ErrorReason.ALREADY_EXISTS, { text: "An attempt of this id was made before." });
    }
    if (hasEnded(context)) throw new CallCancelled();
    const { alias } = request;
    const allowing = providerLimits.take(provider, {
      body: requestBody,
      outputTokensMax: call.embeddings === undefined ? outputTokensMax : 0,
    });
    const taking = allowing instanceof Promise ? await allowing : allowing;
    let hold: CallHold | undefined;
    try {
      const holding = options.budgets.hold(
        {
          spender: { principal, alias, target },
          price,
          body: requestBody,
          stream: call.stream,
          outputTokensMax: call.embeddings === undefined ? (reserved.outputTokens ?? 0) : 0,
        },
        () => context.signal,
      );
      hold = holding instanceof Promise ? await holding : holding;
    } catch (error) {
      taking?.giveBack();
      throw error;
    }
    const plan: AttemptPlan = {
      attemptId: request.attemptId,
      requestId: request.requestId,
      principal,
      alias,
      target,
      priceId: price?.id ?? "",
      provider,
      call,
      stream: call.stream,
      hasLargerTarget: request.hasLargerTarget,
      requestBody,
      askedTier,
      reserved,
      hold,
      taking,
      timeouts: readTimeouts(request.timeouts),
      startTimeMs,
      startMs,
    };
    try {
      return await enter(plan, context);
    } catch (error) {
      hold?.giveUp();
      taking?.giveBack();
      throw error;
    }
  }

  /** Makes an attempt, by itself or together with others. */
  async function enter(plan: AttemptPlan, context: HandlerContext): Promise<Attempt | RunAttemptResponse> {
    if (hasEnded(context)) throw new CallCancelled();
    const { provider, call } = plan;
    const trace = requestTrace(context);
    const seat = batches.enter(plan, () => recordEnd(plan, trace));
    if (seat !== undefined) {
      onCallEnd(context, () => seat.leave());
      const message = seat.turn === undefined ? undefined : await seat.turn;
      if (message !== undefined) return message;
      if (hasEnded(context)) throw new CallCancelled();
    }
    const entering = takePlace(plan, () => context.signal);
    if (entering !== undefined) await entering;
    let attempt: Attempt;
    try {
      if (closed) throw closing();
      const using = keys.use(provider, call);
      const key = using instanceof Promise ? await using : using;
      // A promise only in strict mode; the call may not leave before.
      const recorded = intend(plan);
      if (recorded !== undefined) await recorded;
      attempt = begin(plan, key, recordEnd(plan, trace));
    } catch (error) {
      limitOf(provider.id).leave();
      throw error;
    }
    if (closed) attempt.giveUp();
    // At the end of every call, too; then the attempt is over and nothing happens.
    else onCallEnd(context, () => attempt.cancel());
    attempt.send();
    return attempt;
  }

  /** Puts the intent on record; from then on its hold ends with its settlement. */
  function intend(plan: AttemptPlan): void | Promise<void> {
    const recorded = journal.intend(toIntent(plan));
    if (recorded !== undefined) return recorded.then(() => plan.hold?.keep());
    plan.hold?.keep();
  }

  /** Makes an attempt whose intent is on record, and which has a place under its provider's limit; it will be settled. */
  function begin(plan: AttemptPlan, key: KeyUse, settled: (end: AttemptEnd) => void): Attempt {
    const attempt: Attempt = new Attempt(plan, {
      clock,
      dispatcher: connections.of(plan.provider.origin),
      credentialHeaders: key.headers,
      judgeCredential: (failure) => key.failed(failure),
      progressIntervalMs: providerSet().progressIntervalMs,
      progress: (usage) => journal.progress(plan.attemptId, usage),
      admitDrain() {
        if (draining >= drainsMax) return false;
        draining += 1;
        return true;
      },
      settled(end) {
        attempts.delete(attempt);
        if (plan.stream) openStreams -= 1;
        if (end.outcome === AttemptOutcome.COMPLETED) key.accepted();
        if (end.drained) draining -= 1;
        limitOf(plan.provider.id).leave();
        settled(end);
      },
    });
    attempts.add(attempt);
    if (plan.stream) openStreams += 1;
    return attempt;
  }

  /** Opens the span of an attempt; gives what puts its end on record. */
  function recordEnd(plan: AttemptPlan, trace: CallTrace | undefined): (end: AttemptEnd) => void {
    const { span } = joinTrace(tracer, "attempt", trace);
    return (end) => {
      endTaking(plan.taking, end.usage);
      journal.settle(toUsageEvent(plan, end));
      measures.ended(plan.provider.id, plan.stream, end);
      if (end.failure !== undefined) logFailure(log, plan, end, end.failure);
      traceEnd(span, plan, end);
    };
  }

  return {
    service: {
      runAttempt: (request, context) => answerStream(() => open(request, context)),
      async countTargetTokens(message, context) {
        const { generate, target, provider } = readRequest(message, providerSet());
        const { signal } = context;
        return countTokens(generate, provider, target.model, {
          dispatcherOf: (origin) => connections.of(origin),
          keys,
          nowMs: () => clock.now(),
          enter: (waitMs) => limitOf(provider.id).enter(provider, waitMs, () => signal),
          leave: () => limitOf(provider.id).leave(),
          signal,
        });
      },
    },
    forwarding: forwarding.service,
    status: () => ({
      openAttempts: attempts.size + forwarding.openAttempts,
      draining,
      providers: Array.from(limits, ([id, { calls, waiting }]) => ({ id, calls, waiting })),
    }),
    keepBatches(service) {
      stopBatchKeeper();
      const keeper = startBatchKeeper({
        service,
        providers: providerSet,
        keys,
        dispatcherOf: (origin) => connections.of(origin),
        clock,
        log,
      });
      stopBatchKeeper = () => keeper.stop();
    },
    async close() {
      closed = true;
      stopBatchKeeper();
      batches.close();
      for (const attempt of attempts) attempt.giveUp();
      forwarding.close();
      await connections.close();
      providerLimits.close();
      measures.close();
    },
  };
}

function askedTierOf({ serviceTier: name }: UpstreamCall, price: Price | undefined): AskedTier | undefined {
  if (name === undefined || price === undefined) return undefined;
  return price.tiers?.some(({ serviceTier }) => serviceTier === name) ? { name, price } : undefined;
}

interface Request {
  readonly generate: GenerateRequest;
  readonly target: Target;
  readonly provider: ProviderSettings;
}

function readRequest({ request, target }: Pick<RunAttemptRequest, "request" | "target">, set: ProviderSet): Request {
  if (request === undefined) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "`request` is missing.", metadata: { param: "request" } });
  }
  if (target === undefined) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "`target` is missing.", metadata: { param: "target" } });
  }
  const provider = set.get(target.provider);
  // The router knows it and we do not: the two see different configurations for a moment.
  if (provider === undefined) throw unavailable(target.provider, "connect");
  return { generate: request, target, provider };
}

function times(tokens: number | undefined, count = 1): number | undefined {
  return tokens === undefined ? undefined : tokens * count;
}

function traceEnd(span: Span | undefined, plan: AttemptPlan, end: AttemptEnd): void {
  if (span === undefined) return;
  endSpan(
    span,
    {
      "gen_ai.operation.name": plan.call.embeddings === undefined ? "chat" : "embeddings",
      "gen_ai.provider.name": plan.provider.id,
      "gen_ai.request.model": plan.target.model,
      "weir.attempt.id": plan.attemptId,
      "weir.attempt.outcome": outcomeWord(end.outcome),
      ...(end.status === 0 ? {} : { "http.response.status_code": end.status }),
      ...(end.usage.inputTokens === undefined ? {} : { "gen_ai.usage.input_tokens": end.usage.inputTokens }),
      ...(end.usage.outputTokens === undefined ? {} : { "gen_ai.usage.output_tokens": end.usage.outputTokens }),
    },
    end.failure instanceof CallCancelled ? undefined : end.failure,
  );
}
