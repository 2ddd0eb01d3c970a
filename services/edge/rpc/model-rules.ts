import type { Message } from "@bufbuild/protobuf";
import {
  ChatService,
  type CountTokensRequest,
  type GenerateRequest,
  type GenerateResponse,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  type GetRouteRequest,
  type ListRoutesResponse,
  RouteService,
} from "@weir/gen/weir/routing/v1/route_service_pb";
import { methodPath } from "@weir/kit/context";
import { ReplyStream } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import type { Caller } from "../auth/caller.ts";
import type { Admission } from "../limits/limits.ts";
import { aliasOf, outputTokensGuess } from "../routes/generate.ts";
import { openedAfter } from "./opened-after.ts";
import type { MethodRule, RpcFacts } from "./public-methods.ts";

/** What holds for methods that name models, beside what their access asks: the models of the caller's scope, and its rate of tokens. */
export function createModelRules(): ReadonlyMap<string, MethodRule> {
  const { generate, countTokens } = ChatService.method;
  const { listRoutes, getRoute } = RouteService.method;
  const rules: readonly (readonly [string, MethodRule])[] = [
    [
      methodPath(generate),
      {
        userOf: (message) => (message as GenerateRequest).user || undefined,
        stream(message, facts, relay) {
          const request = readGenerate(message as GenerateRequest, facts);
          const tokens = estimateInputTokens(request) + outputTokensOf(request);
          const admission = admissionOf(facts);
          const reserving = admission.reserve(request.model, tokens);
          const open = () => relay(request, facts);
          return settling(reserving === undefined ? open() : openedAfter(reserving, open), admission);
        },
      },
    ],
    [
      methodPath(countTokens),
      {
        unary(message, facts, relay) {
          const { request } = message as CountTokensRequest;
          const checked: CountTokensRequest = { ...(message as CountTokensRequest) };
          if (request !== undefined) checked.request = readGenerate(request, facts);
          return relay(checked, facts);
        },
      },
    ],
    [
      methodPath(listRoutes),
      {
        async unary(message, facts, relay) {
          const { mayCall } = callerOf(facts);
          const answer = (await relay(message, facts)) as ListRoutesResponse;
          const routes = answer.routes.filter((route) => mayCall(route.alias));
          return routes.length === answer.routes.length ? answer : { ...answer, routes };
        },
      },
    ],
    [
      methodPath(getRoute),
      {
        async unary(message, facts, relay) {
          const model = (message as GetRouteRequest).name.slice("routes/".length);
          // As with models over HTTP: what a key may not call is not there for it.
          if (!callerOf(facts).mayCall(model)) {
            throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model } });
          }
          return relay(message, facts);
        },
      },
    ],
  ];
  return new Map(rules);
}

function callerOf({ caller }: RpcFacts): Caller {
  if (caller === undefined) throw new WeirError(ErrorReason.INTERNAL);
  return caller;
}

function admissionOf({ admission }: RpcFacts): Admission {
  if (admission === undefined) throw new WeirError(ErrorReason.INTERNAL);
  return admission;
}

/** @throws WeirError INVALID_REQUEST, MODEL_FORBIDDEN */
function readGenerate(request: GenerateRequest, facts: RpcFacts): GenerateRequest {
  if (request.wire !== undefined) {
    // Its fields say what the door that read the body found in it, which later services rely on.
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`wire` is for processes of the gateway; send the body to its dialect's own path.",
      metadata: { param: "wire" },
    });
  }
  const model = aliasOf(request.model);
  if (!callerOf(facts).mayCall(model)) throw new WeirError(ErrorReason.MODEL_FORBIDDEN, { metadata: { model } });
  return { ...request, model };
}

function outputTokensOf({ maxOutputTokens, choiceCount }: GenerateRequest): number {
  return (maxOutputTokens ?? outputTokensGuess) * (choiceCount ?? 1);
}

/** What bytes of a picture, a sound or a document count as, whatever their size. */
const mediaTextLength = 4_000;
/** A `data:` URL in base 64; a text may begin like one and go on otherwise. */
const embedded = /^data:[\w.+-]+\/[\w.+-]+(?:;[\w.+=-]+){0,8};base64,[A-Za-z0-9+/=_-]*$/;
/** How deep a value is looked into; the decoder goes no deeper than 100. */
const depthMax = 128;

/** A guess as the other doors make it: a token for every four characters, 1,000 for embedded media. */
export function estimateInputTokens(request: GenerateRequest): number {
  return Math.ceil(textLength(request, depthMax) / 4);
}

function textLength(value: unknown, depth: number): number {
  if (typeof value === "string") return embedded.test(value) ? mediaTextLength : value.length;
  if (value instanceof Uint8Array) return Math.min(value.length, mediaTextLength);
  if (typeof value !== "object" || value === null || depth === 0) return 0;
  let length = 0;
  for (const name in value) {
    if (name !== "$typeName") length += textLength((value as Record<string, unknown>)[name], depth - 1);
  }
  return length;
}

/** Passes a reply on and settles its admission by what the reply says it used. */
function settling(reply: ReplyStream<Message>, admission: Admission): ReplyStream<Message> {
  let begun = false;
  const passed = new ReplyStream<Message>({
    begin() {
      reply.onReady = () => passed.ready();
    },
    poll() {
      let message: Message | undefined;
      try {
        message = reply.poll();
      } catch (thrown) {
        // Nothing was said, so nothing was used; otherwise what was reserved stands for what nobody reported.
        if (!begun) admission.settle(0);
        throw thrown;
      }
      if (message === undefined) {
        if (reply.ended) passed.end();
        return undefined;
      }
      begun = true;
      const { payload } = message as GenerateResponse;
      const event = payload.case === "event" ? payload.value : undefined;
      if (event?.kind.case === "end") settle(admission, event.kind.value.usage);
      return message;
    },
    hangUp: () => reply.return().then(ignore, ignore),
  });
  return passed;
}

function settle(admission: Admission, usage: Usage | undefined): void {
  if (usage?.inputTokens === undefined && usage?.outputTokens === undefined) return;
  admission.settle((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0));
}

function ignore(): void {}
