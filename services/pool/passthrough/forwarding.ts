import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type {
  ForwardAttemptHead,
  ForwardAttemptRequest,
  ForwardAttemptResponse,
  ForwardAttemptService,
} from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { CallHead, Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";
import { hasEnded, metadataNames, onCallEnd, requestMetadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Taking } from "@weir/kit/limits/limiter";
import type { Log } from "@weir/kit/log";
import { ReplyStream, streamOf } from "@weir/kit/reply-stream";
import { asError, CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { Price, PriceList } from "@weir/price/price";
import type { Dispatcher } from "undici";
import type { AttemptEnd } from "../attempt-plan.ts";
import { closing } from "../attempt.ts";
import { logFailure, type RecordedPlan, toIntent, toUsageEvent } from "../attempt-record.ts";
import { readTimeouts } from "../attempt-timeouts.ts";
import type { Budgets } from "../budgets/budgets.ts";
import type { HeldBatch } from "../budgets/batch-hold.ts";
import type { CallHold } from "../budgets/call-hold.ts";
import { unavailable } from "../classify.ts";
import type { Journal } from "../journal/journal.ts";
import type { Measures } from "../measures.ts";
import type { ProviderSet, ProviderSettings } from "../provider-set.ts";
import { endTaking } from "../provider-limits.ts";
import type { AccountUse, Keys } from "../providers/key-use.ts";
import type { AnswerBox } from "./answer-box.ts";
import { bodyLength, bodyStream } from "./body.ts";
import { ForwardAttempt } from "./forward-attempt.ts";
import { expensesOf, makesBatch, tunesModel, untunable } from "./new-batch.ts";
import type { OpenAttempt } from "./realtime-responses.ts";
import { RealtimeSession } from "./realtime-session.ts";
import { unitsToHold } from "./units.ts";

export interface ForwardingDeps {
  readonly clock: Clock;
  readonly providers: () => ProviderSet;
  readonly prices: () => PriceList;
  readonly journal: Pick<Journal, "intend" | "settle">;
  readonly budgets: Pick<Budgets, "hold" | "holdBatch" | "about">;
  readonly keys: Pick<Keys, "useAccount">;
  readonly dispatcherOf: (origin: string) => Dispatcher;
  /** Takes a place under a provider's limit, see CallLimit.enter. */
  readonly enter: (provider: ProviderSettings, signal: () => AbortSignal) => Promise<void> | undefined;
  readonly leave: (provider: ProviderSettings) => void;
  /** Takes what the provider's limits ask of a call, see ProviderLimits.take. */
  readonly allow: (provider: ProviderSettings) => Taking | undefined | Promise<Taking>;
  /** Whether an attempt's id was not seen before; it is from then on. */
  readonly isNew: (attemptId: string) => boolean;
  readonly newAttemptId: () => string;
  readonly readPrincipal: (entry: string | undefined) => Principal;
  readonly measures: Measures;
  readonly log: Log;
}

export interface Forwarding {
  readonly service: ServiceImpl<typeof ForwardAttemptService>;
  readonly openAttempts: number;
  /** Ends all calls, each with its settlement. */
  close(): void;
}

/** Output that is set aside for a call: nothing in it says how much may come. */
const outputTokensHeld = 32_768;
/** Endpoints that no vendor bills for. */
const freeEndpoints: ReadonlySet<string> = new Set(["moderations"]);

/** Serves calls that pass through. */
export function createForwarding(deps: ForwardingDeps): Forwarding {
  const { clock, journal, measures, log } = deps;
  const calls = new Set<OpenCall>();
  let closed = false;

  async function open(pieces: ReplyStream<ForwardAttemptRequest>, context: HandlerContext): Promise<OpenCall> {
    const head = await readHead(pieces);
    const { call, target } = head;
    const startMs = clock.monotonic();
    const startTimeMs = clock.now();
    const principal = deps.readPrincipal(requestMetadata(context, metadataNames.principal));
    const provider = deps.providers().get(target.provider);
    if (provider === undefined) throw unavailable(target.provider, "connect");
    const query = call.endpoint === "realtime" ? `model=${encodeURIComponent(target.model)}` : call.query;
    const path = provider.passthroughPath?.(call.path, query, target.model);
    if (path === undefined) throw unsupported(provider, call);
    const price = deps.prices().find(target, startTimeMs);
    const isBilled = call.alias !== "" && !freeEndpoints.has(call.endpoint);
    if (isBilled && price === undefined && !head.allowUnpriced) {
      throw new WeirError(ErrorReason.MODEL_UNPRICED, { metadata: { model: call.alias } });
    }
    if (!deps.isNew(head.attemptId)) {
      throw new WeirError(ErrorReason.ALREADY_EXISTS, { text: "An attempt of this id was made before." });
    }
    if (tunesModel(call) && (await deps.budgets.about({ principal, alias: call.alias, target })).length > 0) {
      throw untunable();
    }
    const taking = await deps.allow(provider);
    let hold: CallHold | undefined;
    let batch: HeldBatch | undefined;
    try {
      hold = isBilled ? await holdFor(head, principal, price, context) : undefined;
      if (makesBatch(call)) {
        const expenses = () => expensesOf(deps, call, provider, principal, startTimeMs);
        batch = await deps.budgets.holdBatch(head.attemptId, expenses, context.signal);
      }
      const entering = deps.enter(provider, () => context.signal);
      if (entering !== undefined) await entering;
    } catch (thrown) {
      hold?.giveUp();
      batch?.giveBack();
      taking?.giveBack();
      throw thrown;
    }
    const plan: RecordedPlan = {
      attemptId: head.attemptId,
      requestId: head.requestId,
      principal,
      alias: call.alias,
      target,
      priceId: price?.id ?? "",
      provider,
      stream: call.stream,
      reserved: { $typeName: "weir.common.v1.Usage", serverToolUses: {} },
      hold,
      startTimeMs,
    };
    const leave = (usage: Usage | undefined): void => {
      deps.leave(provider);
      if (usage === undefined) taking?.giveBack();
      else endTaking(taking, usage);
    };
    try {
      if (hasEnded(context)) throw new CallCancelled();
      if (closed) throw closing();
      const key = deps.keys.useAccount(provider, call.place?.account ?? "");
      await intend(plan);
      const opening: Opening = { head, plan, batch, price, path, key, pieces, startMs, context, leave };
      return call.endpoint === "realtime" ? openSession(opening) : send(opening);
    } catch (thrown) {
      leave(undefined);
      hold?.giveUp();
      batch?.giveBack();
      throw thrown;
    }
  }

  /** Puts an intent on record; from then on its hold ends with its settlement. */
  async function intend(plan: RecordedPlan): Promise<void> {
    const recorded = journal.intend(toIntent(plan));
    if (recorded !== undefined) await recorded;
    plan.hold?.keep();
  }

  function settle(plan: RecordedPlan, end: AttemptEnd, key: AccountUse): void {
    if (end.failure === undefined) key.accepted();
    else logFailure(log, plan, end, end.failure);
    journal.settle(toUsageEvent(plan, end));
    measures.ended(plan.provider.id, plan.stream, end);
  }

  /** Makes a call of HTTP whose intent is on record. */
  function send({
    head: { call, target, timeouts },
    plan,
    batch,
    path,
    key,
    pieces,
    startMs,
    context,
    leave,
  }: Opening): OpenCall {
    const { provider } = plan;
    const hasBody = call.contentType !== "";
    const attempt: ForwardAttempt = new ForwardAttempt(
      {
        ...plan,
        call,
        path,
        place: placeOf(provider, key),
        timeouts: readTimeouts(timeouts),
        startMs,
        batchHold: batch?.message,
        body: hasBody ? bodyStream(pieces, call, target.model) : undefined,
        bodyBytes: hasBody ? bodyLength(call, target.model) : undefined,
      },
      {
        clock,
        dispatcher: deps.dispatcherOf(provider.origin),
        credentialHeaders: key.headers,
        judgeCredential: (failure) => key.failed(failure),
        settled(end) {
          calls.delete(attempt);
          leave(end.usage);
          if (!attempt.mayHaveMade) batch?.giveBack();
          settle(plan, end, key);
        },
      },
    );
    calls.add(attempt);
    onCallEnd(context, () => attempt.cancel());
    attempt.send();
    return attempt;
  }

  /** Begins a session whose first attempt is on record. */
  function openSession({ head, plan, price, path, key, pieces, startMs, context, leave }: Opening): OpenCall {
    const { provider, principal } = plan;
    const { call, target } = head;
    const openAttempt = (of: RecordedPlan, beganMs: number): OpenAttempt => ({
      startMs: beganMs,
      settle: (end) => settle(of, end, key),
    });
    const begin = async (hold: CallHold | undefined, beganMs: number): Promise<OpenAttempt> => {
      const next: RecordedPlan = { ...plan, attemptId: deps.newAttemptId(), hold, startTimeMs: clock.now() };
      try {
        await intend(next);
      } catch (thrown) {
        hold?.giveUp();
        throw thrown;
      }
      return openAttempt(next, beganMs);
    };
    const beginHeld = async (beganMs: number): Promise<OpenAttempt> =>
      begin(await holdFor(head, principal, price, context), beganMs);
    const session: RealtimeSession = new RealtimeSession(
      {
        provider: provider.id,
        url: `${provider.origin.replace(/^http/, "ws")}${path}`,
        headers: sessionHeaders([...provider.headers, ...Object.entries(call.headers).flat(), ...key.headers]),
        place: placeOf(provider, key),
        model: target.model,
        timeouts: readTimeouts(head.timeouts),
        pieces,
      },
      {
        clock,
        begin: () => beginHeld(clock.monotonic()),
        beginLate(begun) {
          const beganMs = clock.monotonic();
          const beginning = beginHeld(beganMs).then(
            (attempt) => {
              begun(undefined);
              return attempt;
            },
            (thrown: unknown) => {
              begun(asError(thrown));
              return begin(undefined, beganMs);
            },
          );
          return {
            startMs: beganMs,
            settle(end) {
              beginning.then(
                (attempt) => attempt.settle(end),
                (failure: unknown) => log.error({ failure }, "a response that nobody announced is not on record"),
              );
            },
          };
        },
        judgeCredential: (failure) => key.failed(failure),
        over(usage) {
          calls.delete(session);
          leave(usage);
        },
      },
      openAttempt(plan, startMs),
    );
    calls.add(session);
    onCallEnd(context, () => session.cancel());
    return session;
  }

  /** Sets money aside in every budget that is about the call. */
  async function holdFor(
    { call, target }: CheckedHead,
    principal: Principal,
    price: Price | undefined,
    context: HandlerContext,
  ): Promise<CallHold | undefined> {
    return deps.budgets.hold(
      {
        spender: { principal, alias: call.alias, target },
        price,
        body: noBytes,
        stream: false,
        outputTokensMax: outputTokensHeld * Math.max(1, call.units["images"] ?? 1),
        units: unitsToHold(call),
      },
      () => context.signal,
    );
  }

  return {
    service: {
      forwardAttempt: (requests, context) => answerStream(() => open(streamOf(requests), context)),
    },
    get openAttempts() {
      return calls.size;
    },
    close() {
      closed = true;
      for (const call of calls) call.giveUp();
    },
  };
}

/** A call under way. */
interface OpenCall {
  readonly box: AnswerBox;
  /** The caller has gone. */
  cancel(): void;
  /** The process ends. */
  giveUp(): void;
}

/** A call whose intent is on record. */
interface Opening {
  readonly head: CheckedHead;
  readonly plan: RecordedPlan;
  /** What is set aside for the batch that it makes; undefined: nothing. */
  readonly batch: HeldBatch | undefined;
  readonly price: Price | undefined;
  readonly path: string;
  readonly key: AccountUse;
  readonly pieces: ReplyStream<ForwardAttemptRequest>;
  readonly startMs: number;
  readonly context: HandlerContext;
  /** Gives its places back. @param usage what it used; undefined: it was not made */
  readonly leave: (usage: Usage | undefined) => void;
}

function placeOf({ id }: ProviderSettings, { account }: AccountUse): Place {
  return { $typeName: "weir.passthrough.v1.Place", provider: id, account };
}

/** Headers of a handshake: those of calls, but for what describes a body and its answer. */
function sessionHeaders(pairs: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let at = 0; at < pairs.length; at += 2) headers[pairs[at] as string] = pairs[at + 1] as string;
  for (const name of ["content-type", "accept", "accept-encoding"]) delete headers[name];
  return headers;
}

/** A head with all that it must have. */
type CheckedHead = ForwardAttemptHead & { readonly call: CallHead; readonly target: Target };

async function readHead(pieces: ReplyStream<ForwardAttemptRequest>): Promise<CheckedHead> {
  const first = await pieces.next();
  const payload = first.done === true ? undefined : first.value.payload;
  if (payload?.case === "head" && payload.value.call !== undefined && payload.value.target !== undefined) {
    return payload.value as CheckedHead;
  }
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "A call begins with its head, which has a call and a target.",
    metadata: { param: "head" },
  });
}

function unsupported({ id }: ProviderSettings, { endpoint }: CallHead): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
    text: `The provider ${id} is of a kind that does not serve ${endpoint}.`,
    metadata: { provider: id },
  });
}

/** What a caller gets of its call, as fast as it reads. Leaving it cancels the call. */
function answerStream(open: () => Promise<OpenCall>): ReplyStream<ForwardAttemptResponse> {
  let attempt: OpenCall | undefined;
  let left = false;
  const stream = new ReplyStream<ForwardAttemptResponse>({
    begin() {
      open().then(
        (opened) => {
          attempt = opened;
          if (left) attempt.cancel();
          attempt.box.onReady = () => stream.readySoon();
          stream.ready();
        },
        (thrown: unknown) => stream.fail(asError(thrown)),
      );
    },
    poll() {
      const message = attempt?.box.poll();
      if (attempt?.box.ended === true) stream.end();
      return message;
    },
    hangUp() {
      left = true;
      attempt?.cancel();
    },
  });
  return stream;
}

const noBytes = Buffer.alloc(0);
