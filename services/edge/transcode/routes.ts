import type { Message } from "@bufbuild/protobuf";
import { isUtf8 } from "node:buffer";
import { prepareValidation, validateRequest } from "@weir/kit/validation";
import type { EdgeSettings } from "../config.ts";
import { type BodyMemory, readJsonBody } from "../http/body.ts";
import type { Exchange, HeaderList } from "../http/exchange.ts";
import type { Measures } from "../measures.ts";
import type { KeyedCall, OpenCall, Route } from "../routes/route.ts";
import type { PublicMethod, RpcFacts } from "../rpc/public-methods.ts";
import { requestBytesMax } from "../rpc/request-bytes.ts";
import { streamKind } from "./accept.ts";
import { createAnswerWriter } from "./answer.ts";
import { bindRequest } from "./bind.ts";
import { invalid } from "./faults.ts";
import { type QueryPair, readQuery } from "./query.ts";
import { type HttpBinding, resolveHttpMethods } from "./rules.ts";
import { statusVoice } from "./status-voice.ts";
import { sendStream } from "./stream.ts";

export interface TranscodingDeps {
  readonly methods: readonly PublicMethod[];
  readonly settings: () => EdgeSettings;
  readonly memory: BodyMemory;
  readonly measures: Measures;
  /** What stands in the place of the plain way for some methods, by path: `weir.metering.v1.UsageService/ListCosts`. */
  readonly forms?: ReadonlyMap<string, MethodForm>;
}

/** A call of either kind of route. */
export type RoutedCall = OpenCall & Partial<Pick<KeyedCall, "caller" | "admission">>;

/** What a method has over HTTP beside what its rule says. */
export interface MethodForm {
  /** Changes the query before it is bound. @throws WeirError INVALID_REQUEST */
  readonly query?: (query: readonly QueryPair[], call: RoutedCall) => readonly QueryPair[];
  /** Answers in another form than JSON; undefined: this call is answered as JSON. */
  readonly answer?: (call: RoutedCall, request: Message, facts: RpcFacts) => Promise<void> | undefined;
}

const jsonHeaders: HeaderList = ["content-type", "application/json; charset=utf-8", "cache-control", "no-store"];

/**
 * The public methods as REST and JSON, by their rules of google.api.http.
 * @throws RuleError when a rule cannot be served
 */
export function createTranscodedRoutes(deps: TranscodingDeps): Route[] {
  const resolved = resolveHttpMethods(deps.methods.map(({ desc }) => desc));
  return deps.methods.flatMap((method, index) =>
    (resolved[index]?.bindings ?? []).map((binding): Route => {
      const handle = createHandler(deps, method, binding);
      const { text } = binding.template;
      const row = {
        method: binding.httpMethod,
        path: text,
        keepsSlashes: true,
        label: text,
        voice: statusVoice,
        action: method.action,
      };
      return method.access === "open" ? { ...row, access: "open", handle } : { ...row, access: method.access, handle };
    }),
  );
}

function createHandler(deps: TranscodingDeps, method: PublicMethod, binding: HttpBinding) {
  const { desc } = method;
  const form = deps.forms?.get(method.path);
  const write = createAnswerWriter(desc.output, binding.responseBody);
  prepareValidation(desc.input);

  async function readRequest(call: RoutedCall): Promise<Message> {
    const { exchange, params } = call;
    const query = readQuery(exchange.request.url ?? "");
    const takesBody = binding.body.kind !== "none";
    if (!takesBody && !isBodiless(exchange)) throw invalid("This method takes no body.");
    const body = takesBody ? await readBodyText(exchange, method, deps) : "";
    const pairs = form?.query?.(query, call) ?? query;
    const request = bindRequest(desc, binding, { params, query: pairs, body });
    validateRequest(desc.input, request);
    return request;
  }

  return async (call: RoutedCall): Promise<void> => {
    const { exchange } = call;
    const request = await readRequest(call);
    const left = new AbortController();
    exchange.onGone = () => left.abort();
    const facts: RpcFacts = {
      caller: call.caller,
      admission: call.admission,
      requestId: exchange.id,
      headers: exchange.request.headers,
      trace: exchange.trace,
      timeoutMs: timeoutOf(exchange) ?? (method.kind === "stream" ? streamTimeoutMs : undefined),
      signal: left.signal,
    };
    const answering = form?.answer?.(call, request, facts);
    if (answering !== undefined) return answering;
    if (method.kind === "stream") {
      const options = {
        kind: streamKind(exchange.request.headers.accept),
        settings: deps.settings(),
        measures: deps.measures,
        write,
      };
      return sendStream(exchange, method.call(request, facts), options);
    }
    const answer = await method.call(request, facts);
    exchange.onGone = undefined;
    exchange.answer(200, jsonHeaders, write(answer));
    return undefined;
  };
}

/** Whether a request says that it has no body, or none but an empty one. */
function isBodiless({ request: { headers } }: Exchange): boolean {
  return headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0;
}

async function readBodyText(
  exchange: Exchange,
  method: PublicMethod,
  { settings, memory }: TranscodingDeps,
): Promise<string> {
  if (isBodiless(exchange)) return "";
  const { bodyBytesMax, bodyStallMs, bodyBytesPerSecondMin } = settings();
  const bytesMax = requestBytesMax(method, bodyBytesMax);
  const limits = { bytesMax, stallMs: bodyStallMs, bytesPerSecondMin: bodyBytesPerSecondMin, memory };
  const body = await readJsonBody(exchange, limits);
  if (!isUtf8(body)) throw invalid("The body is not UTF-8.");
  return body.toString("utf8");
}

/** How long a stream may go on whose client sets no time. */
const streamTimeoutMs = 3_600_000;
/** Longest time that a client may set, in seconds. */
const clientSecondsMax = 86_400;
const secondsShape = /^\d{1,5}(?:\.\d{1,9})?$/;

/** The client's own time, in seconds as https://cloud.google.com/apis/docs/system-parameters has them. */
function timeoutOf({ request }: Exchange): number | undefined {
  const text = request.headers["x-server-timeout"];
  if (text === undefined) return undefined;
  const seconds = typeof text === "string" && secondsShape.test(text) ? Number(text) : 0;
  if (seconds > 0 && seconds <= clientSecondsMax) return Math.ceil(seconds * 1_000);
  throw invalid(
    "The header `x-server-timeout` must be a number of seconds, more than 0 and at most 86400.",
    "x-server-timeout",
  );
}
