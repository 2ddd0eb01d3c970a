import type { Codec } from "@weir/dialect/codec";
import { headerRules } from "@weir/dialect/headers";
import { isObject, type JsonObject, parseExact, writeJson } from "@weir/dialect/json";
import { checkBody, readWireRequest, wireRequest } from "@weir/dialect/wire-request";
import type { CountTokensResponse, GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { callMetadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { principalHeaderFor } from "../auth/caller.ts";
import type { ChatOptions } from "../files/owned-files.ts";
import { readJsonBody } from "../http/body.ts";
import { aliasOf, emptyRequest, type GenerateDeps, passingHeaders, type PathFacts } from "./generate.ts";
import type { KeyedCall } from "./route.ts";

/** Longer than the router waits for a provider, which answers before. */
const countTimeoutMs = 12_000;

/** How a dialect asks for a count. */
export interface CountDialect {
  readonly codec: Codec;
  /** The request whose input is to be counted, as the dialect's own requests look. */
  toRequest(body: JsonObject): JsonObject;
  /** The answer's body. */
  write(inputTokens: number): string;
  readPath?(call: KeyedCall): PathFacts;
}

export interface CountDeps extends Pick<GenerateDeps, "settings" | "memory"> {
  readonly chat: {
    countTokens(message: { readonly request: GenerateRequest }, options: ChatOptions): Promise<CountTokensResponse>;
  };
}

/** Answers requests for the length of an input. Nothing is reserved and nothing billed. */
export function createCountTokens(deps: CountDeps, dialect: CountDialect): (call: KeyedCall) => Promise<void> {
  const { codec } = dialect;
  const rules = headerRules(codec.dialect);
  return async (call) => {
    const { exchange, caller } = call;
    const path = dialect.readPath?.(call) ?? {};
    const settings = deps.settings();
    const sent = await readJsonBody(exchange, {
      bytesMax: settings.bodyBytesMax,
      stallMs: settings.bodyStallMs,
      bytesPerSecondMin: settings.bodyBytesPerSecondMin,
      memory: deps.memory,
    });
    checkBody(sent);
    const json = parseExact(sent.toString());
    if (!isObject(json)) throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not a JSON object." });
    const reading = readWireRequest(codec, Buffer.from(writeJson(dialect.toRequest(json))), path.model);
    const model = aliasOf(path.model ?? reading.envelope.model ?? "");
    if (!caller.mayCall(model)) throw new WeirError(ErrorReason.MODEL_FORBIDDEN, { metadata: { model } });
    const leaving = new AbortController();
    exchange.onGone = () => leaving.abort();
    const { inputTokens, estimated } = await deps.chat.countTokens(
      {
        request: {
          ...emptyRequest,
          model,
          wire: wireRequest(codec, reading, false, passingHeaders(rules, exchange)),
        },
      },
      {
        metadata: callMetadata(principalHeaderFor(caller, undefined), exchange.id, exchange.trace),
        signal: leaving.signal,
        timeoutMs: countTimeoutMs,
        caller,
      },
    );
    exchange.onGone = undefined;
    const headers = ["content-type", "application/json", ...(estimated ? ["x-weir-warnings", "estimated"] : [])];
    exchange.answer(200, headers, dialect.write(inputTokens));
  };
}
