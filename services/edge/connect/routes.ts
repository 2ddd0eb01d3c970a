import type { DescMethod, Message } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { encodeEnvelope, type UniversalHandler, type UniversalServerResponse } from "@connectrpc/connect/protocol";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { checkMessageExtent } from "@weir/kit/message-extent";
import { validateRequest } from "@weir/kit/validation";
import { CallCancelled, toConnectError, toWeirError, WeirError } from "@weir/kit/weir-error";
import { type BodyMemory, readBody } from "../http/body.ts";
import type { Exchange, HeaderList } from "../http/exchange.ts";
import type { EdgeSettings } from "../config.ts";
import type { KeyedCall, OpenCall, Route } from "../routes/route.ts";
import type { PublicMethod, RpcFacts } from "../rpc/public-methods.ts";
import { requestBytesMax } from "../rpc/request-bytes.ts";
import { checkExtent } from "../transcode/json.ts";
import { protocolQuery, protocolWord } from "./protocol-words.ts";
import { readableJson, readableQuery } from "./readable-json.ts";
import { fromText, isText, toText } from "./text-form.ts";
import { voiceOfRequest } from "./voice.ts";

export interface ConnectDeps {
  readonly methods: readonly PublicMethod[];
  readonly settings: () => EdgeSettings;
  readonly memory: BodyMemory;
}

/** A call of either kind of route. */
type RoutedCall = OpenCall & Partial<Pick<KeyedCall, "caller" | "admission">>;

/** A call on its way through its protocol's handler, which tells nobody how the call ended. */
interface Underway extends RoutedCall {
  /** Whether the request was read, and the call made. */
  isMade: boolean;
  /** Why the answer tells of a failure, if it does. */
  failure: WeirError | undefined;
}

const callKey = createContextKey<Underway | undefined>(undefined);
/** The longest time that a client may set, in milliseconds. */
const timeoutMaxMs = 86_400_000;

/**
 * The public methods in the protocols of Connect and gRPC-Web, each at the path that both have for it:
 * `POST /weir.chat.v1.ChatService/Generate`. Methods that change nothing are also answered as Connect's GET.
 */
export function createConnectRoutes(deps: ConnectDeps): Route[] {
  const router = createConnectRouter({
    grpc: false,
    // A message that grows when it is unpacked would not be bounded by its body.
    acceptCompression: [],
    readMaxBytes: deps.settings().bodyBytesMax,
    maxTimeoutMs: timeoutMaxMs,
  });
  return deps.methods.flatMap((method): Route[] => {
    // What a descriptor says at run time is what its handler gets; no type can say so of all methods at once.
    router.rpc(method.desc, implementationOf(method) as never);
    const handler = router.handlers.at(-1);
    if (handler === undefined) throw new Error(`${method.path} was not taken`);
    const answer = (call: RoutedCall) => serve(call, method, handler, deps);
    return handler.allowedMethods.map((httpMethod): Route => {
      const path = `/${method.path}`;
      const row = { method: httpMethod, path, label: path, voice: voiceOfRequest, action: method.action };
      return method.access === "open"
        ? { ...row, access: "open", handle: answer }
        : { ...row, access: method.access, handle: answer };
    });
  });
}

type Implementation = (request: Message, context: HandlerContext) => Promise<Message> | AsyncGenerator<Message>;

/** What the handler of one method calls; failures become those that its protocol knows. */
function implementationOf(method: PublicMethod): Implementation {
  const told = (thrown: unknown, context: HandlerContext): ConnectError => {
    const call = underway(context);
    if (thrown instanceof CallCancelled) {
      // Its time was over, which the handler tells, or its client left.
      call.failure = toWeirError(context.signal.reason);
      return new ConnectError("the call was given up", Code.Canceled);
    }
    call.failure = toWeirError(thrown);
    if (call.failure !== thrown && !(thrown instanceof ConnectError)) call.exchange.defect = thrown;
    return toConnectError(call.failure);
  };
  if (method.kind === "unary") {
    return async (request: Message, context: HandlerContext) => {
      underway(context).isMade = true;
      try {
        validateRequest(method.desc.input, request);
        return await method.call(request, factsOf(context));
      } catch (thrown) {
        throw told(thrown, context);
      }
    };
  }
  return async function* (request: Message, context: HandlerContext) {
    underway(context).isMade = true;
    try {
      validateRequest(method.desc.input, request);
      const { signal } = context;
      const reply = method.call(request, factsOf(context));
      // The client left or its time is over; nothing else would end a wait for the next message.
      signal.addEventListener("abort", () => void reply.return(), { once: true });
      yield* reply;
      if (signal.aborted) throw signal.reason;
    } catch (thrown) {
      throw told(thrown, context);
    }
  };
}

function underway(context: HandlerContext): Underway {
  const call = context.values.get(callKey);
  if (call === undefined) throw new Error("the call did not come through its route");
  return call;
}

function factsOf(context: HandlerContext): RpcFacts {
  const { exchange, caller, admission } = underway(context);
  return {
    caller,
    admission,
    requestId: exchange.id,
    headers: exchange.request.headers,
    trace: exchange.trace,
    timeoutMs: context.timeoutMs(),
    signal: context.signal,
  };
}

async function serve(
  call: RoutedCall,
  method: PublicMethod,
  handler: UniversalHandler,
  deps: ConnectDeps,
): Promise<void> {
  const { exchange } = call;
  const { request } = exchange;
  const settings = deps.settings();
  const text = isText(request.headers["content-type"]);
  const sent =
    request.method === "POST"
      ? await readBody(exchange, {
          bytesMax: requestBytesMax(method, settings.bodyBytesMax),
          stallMs: settings.bodyStallMs,
          bytesPerSecondMin: settings.bodyBytesPerSecondMin,
          memory: deps.memory,
        })
      : Buffer.alloc(0);
  const body = readableBody(request.headers["content-type"], text ? fromText(sent) : sent, method.desc);
  const left = new AbortController();
  exchange.onGone = () => left.abort(new ConnectError("the client left", Code.Canceled));
  const underwayCall: Underway = { ...call, isMade: false, failure: undefined };
  const response = await handler({
    httpVersion: request.httpVersion,
    method: request.method ?? "",
    url: `http://edge/${method.path}${readableQuery(protocolQuery(queryOf(request.url ?? "")))}`,
    header: headersOf(exchange, text),
    body: once(body),
    signal: left.signal,
    contextValues: createContextValues().set(callKey, underwayCall),
  });
  const parts = response.body?.[Symbol.asyncIterator]() ?? none();
  const first = await parts.next();
  if (!underwayCall.isMade) checkTold(response, first.value, method);
  await (method.kind === "unary" ? answerWhole : answerStream)(underwayCall, response, first, parts, text);
}

const bodyType = /^application\/(?:(connect|grpc-web(?:-text)?)(?:\+(json|proto))?|(json|proto))\s*(?:;|$)/i;
/** One byte of flags and four of length. https://connectrpc.com/docs/protocol/#streaming-request */
const envelopeBytes = 5;

/**
 * A body as the handler may read it, which builds whatever it is given, for brackets or empty messages alone a hundred times as large
 * as the body, and which parses JSON by itself.
 * @throws WeirError INVALID_REQUEST for too much of it, for more than one message in envelopes, and for JSON that `readableJson` refuses
 */
function readableBody(contentType: string | undefined, body: Buffer, { input }: DescMethod): Buffer {
  const [isKnown, framing, inner, outer] = bodyType.exec(contentType ?? "") ?? [];
  if (isKnown === undefined) return body;
  const isFramed = framing !== undefined;
  if (isFramed && (body.length < envelopeBytes || body.readUInt32BE(1) !== body.length - envelopeBytes)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not one message in its envelope." });
  }
  const message = isFramed ? body.subarray(envelopeBytes) : body;
  if ((inner ?? outer)?.toLowerCase() !== "json") {
    checkMessageExtent(input, message);
    return body;
  }
  // What JSON is made of stands for itself in every byte of UTF-8.
  checkExtent(message.toString("latin1"));
  const readable = readableJson(message);
  if (readable === message) return body;
  return isFramed ? Buffer.from(encodeEnvelope(body[0] ?? 0, readable)) : readable;
}

type Part = IteratorResult<Uint8Array, undefined>;
type Parts = AsyncIterator<Uint8Array, undefined>;

async function* none(): AsyncGenerator<Uint8Array, undefined, undefined> {}

/** @throws WeirError INVALID_REQUEST in the place of the handler's own words for a message that it cannot read, which quote the message */
function checkTold({ header }: UniversalServerResponse, body: Uint8Array | undefined, { desc }: PublicMethod): void {
  const words = `${header?.get("grpc-message") ?? ""} ${Buffer.from(body ?? []).toString("latin1")}`;
  if (!/cannot(?: |%20)decode/.test(words)) return;
  throw new WeirError(ErrorReason.INVALID_REQUEST, { text: `The request is no ${desc.input.typeName}.` });
}

async function answerWhole(
  call: Underway,
  response: UniversalServerResponse,
  first: Part,
  rest: Parts,
  text: boolean,
): Promise<void> {
  const { exchange } = call;
  const parts: Uint8Array[] = [];
  for (let part = first; part.done !== true; part = await rest.next()) parts.push(part.value);
  const body = Buffer.concat(parts);
  exchange.onGone = undefined;
  exchange.failure ??= call.failure;
  exchange.answer(response.status, headerList(response, text), text ? toText(body) : body);
}

async function answerStream(
  call: Underway,
  response: UniversalServerResponse,
  first: Part,
  rest: Parts,
  text: boolean,
): Promise<void> {
  const { exchange } = call;
  try {
    exchange.begin(response.status, headerList(response, text), true);
    for (let part = first; part.done !== true; part = await rest.next()) {
      if (exchange.isOver) return;
      if (exchange.write(text ? toText(part.value) : part.value)) continue;
      await exchange.writable();
      // A service may pause for longer than a client. What has failed meanwhile keeps its alarm.
      if (!exchange.isOver) exchange.clearAlarm();
    }
  } finally {
    await rest.return?.();
  }
  exchange.onGone = undefined;
  exchange.failure ??= call.failure;
  exchange.end("");
}

/** With its question mark; empty: there is none. */
function queryOf(target: string): string {
  const start = target.indexOf("?");
  return start < 0 ? "" : target.slice(start);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > 0) yield bytes;
}

function headersOf({ request }: Exchange, text: boolean): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    // The length is that of what was sent, which may be another than that of what the handler is given.
    if (value !== undefined && name !== "content-length")
      headers.set(name, protocolWord(name, Array.isArray(value) ? value.join(", ") : value));
  }
  if (text) headers.set("content-type", "application/grpc-web+proto");
  return headers;
}

function headerList({ header }: UniversalServerResponse, text: boolean): HeaderList {
  // Its length is the exchange's business.
  const list: HeaderList = [...(header ?? [])].filter(([name]) => name !== "content-length").flat();
  if (text) list[list.indexOf("content-type") + 1] = "application/grpc-web-text+proto";
  return list;
}
