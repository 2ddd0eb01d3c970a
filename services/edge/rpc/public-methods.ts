import { type DescMethod, type DescService, getOption, type Message } from "@bufbuild/protobuf";
import type { IncomingHttpHeaders } from "node:http";
import { access as accessOption, Permission } from "@weir/gen/weir/common/v1/access_pb";
import { actionOf } from "@weir/kit/action";
import { type CallOptions, callMetadata, type CallTrace, type Client, type Metadata } from "@weir/kit/call";
import type { CallSignal } from "@weir/kit/call-signal";
import { methodPath } from "@weir/kit/context";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { type Caller, principalHeaderFor } from "../auth/caller.ts";
import { readTags } from "../auth/tags.ts";
import type { Admission } from "../limits/limits.ts";
import type { Access } from "../routes/route.ts";

/** What a door knows of one call beside its request. */
export interface RpcFacts {
  /** Undefined for methods that are open to everyone. */
  readonly caller: Caller | undefined;
  /** What the call has taken of its caller's limits; the door ends it when the call is over. Undefined with `caller`. */
  readonly admission: Admission | undefined;
  readonly requestId: string;
  /** Of HTTP, or the metadata of gRPC, as they came; names in lower case. Only `x-weir-tags` is read. */
  readonly headers: IncomingHttpHeaders;
  /** With this process's span. */
  readonly trace: CallTrace | undefined;
  /** What is left of the client's own time, in milliseconds; undefined: it set none. */
  readonly timeoutMs: number | undefined;
  /** Gives a unary call up; a stream is given up by leaving it. */
  readonly signal?: CallSignal | undefined;
}

/** A service that public doors serve, and the way to it. */
export interface RpcService {
  readonly service: DescService;
  readonly client: Readonly<Record<string, UntypedMethod>>;
}

type UntypedMethod = (request: Message, options: CallOptions & Pick<RpcFacts, "caller">) => unknown;

/** Pairs a service with its client. */
export function rpcService<S extends DescService>(service: S, client: Client<S>): RpcService {
  return { service, client: client as unknown as RpcService["client"] };
}

interface Method {
  readonly desc: DescMethod;
  /** `weir.chat.v1.ChatService/Generate`. */
  readonly path: string;
  readonly access: Access | "open";
  /** What the audit log calls it. */
  readonly action: string;
}

export interface PublicUnary extends Method {
  readonly kind: "unary";
  readonly call: (request: Message, facts: RpcFacts) => Promise<Message>;
}

export interface PublicStream extends Method {
  readonly kind: "stream";
  /** The call begins when the stream is first asked for a message. */
  readonly call: (request: Message, facts: RpcFacts) => ReplyStream<Message>;
}

/**
 * One method as every public door serves it: gRPC, Connect and transcoded HTTP differ in how a call is written, and in nothing else. The door
 * admits the caller by `access` and checks the request against the rules of its schema; `call` does the rest. It fails with
 * WeirError, or CallCancelled when its signal fires.
 */
export type PublicMethod = PublicUnary | PublicStream;

/** What stands in the place of the plain relay of one method. `relay` calls the service. */
export interface MethodRule {
  readonly unary?: (
    request: Message,
    facts: RpcFacts,
    relay: (request: Message, facts: RpcFacts) => Promise<Message>,
  ) => Promise<Message>;
  readonly stream?: (
    request: Message,
    facts: RpcFacts,
    relay: (request: Message, facts: RpcFacts) => ReplyStream<Message>,
  ) => ReplyStream<Message>;
  /** The end user that the request names. */
  readonly userOf?: (request: Message) => string | undefined;
}

/** For unary calls whose client set no time of its own, and at the most. */
const unaryTimeoutMs = 35_000;
/** A stream goes on for as long as its client reads, but one that sets a time no longer than a day. */
const streamTimeoutMaxMs = 86_400_000;

/**
 * The methods that public doors serve, with what each asks of its caller: all of the services but those for processes of the gateway.
 * @param rules by path
 * @throws Error that names a method without a rule of access, or with one that asks for no endpoint, so that such a door does not start
 */
export function createPublicMethods(
  services: readonly RpcService[],
  rules: ReadonlyMap<string, MethodRule> = new Map(),
): readonly PublicMethod[] {
  return services.flatMap(({ service, client }) =>
    service.methods.flatMap((desc): PublicMethod[] => {
      const access = accessOf(desc);
      if (access === "mesh") return [];
      const path = methodPath(desc);
      const method = client[desc.localName];
      if (method === undefined) throw new Error(`${path} has no client`);
      const rule = rules.get(path) ?? {};
      const action = access === "open" ? "none" : actionOf(desc);
      if (desc.methodKind === "unary") {
        const relay = (request: Message, facts: RpcFacts) =>
          method(request, {
            caller: facts.caller,
            metadata: metadataBelow(facts, rule.userOf?.(request)),
            timeoutMs: Math.min(facts.timeoutMs ?? unaryTimeoutMs, unaryTimeoutMs),
            signal: facts.signal,
          }) as Promise<Message>;
        const { unary } = rule;
        const call = unary === undefined ? relay : (request: Message, facts: RpcFacts) => unary(request, facts, relay);
        return [{ kind: "unary", desc, path, access, action, call }];
      }
      if (desc.methodKind !== "server_streaming") throw new Error(`${path} streams its requests; no public door can`);
      const relay = (request: Message, facts: RpcFacts) =>
        method(request, {
          caller: facts.caller,
          metadata: metadataBelow(facts, rule.userOf?.(request)),
          timeoutMs: facts.timeoutMs === undefined ? undefined : Math.min(facts.timeoutMs, streamTimeoutMaxMs),
        }) as ReplyStream<Message>;
      const { stream } = rule;
      const call = stream === undefined ? relay : (request: Message, facts: RpcFacts) => stream(request, facts, relay);
      return [{ kind: "stream", desc, path, access, action, call }];
    }),
  );
}

function metadataBelow({ caller, requestId, headers, trace }: RpcFacts, user: string | undefined): Metadata {
  const principal = caller === undefined ? undefined : principalHeaderFor(caller, user, readTags(headers));
  return callMetadata(principal, requestId, trace);
}

const withoutEndpoint: ReadonlySet<Permission> = new Set([Permission.PUBLIC, Permission.KNOWN, Permission.MESH]);

function accessOf(method: DescMethod): Access | "open" | "mesh" {
  const { permission, endpoint } = getOption(method, accessOption);
  if (permission === Permission.UNSPECIFIED) throw new Error(`${methodPath(method)} does not say who may call it`);
  if (endpoint === "" && !withoutEndpoint.has(permission)) {
    throw new Error(`${methodPath(method)} names no endpoint for the scopes of keys`);
  }
  if (permission === Permission.MESH) return "mesh";
  return permission === Permission.PUBLIC ? "open" : { permission, endpoint };
}
