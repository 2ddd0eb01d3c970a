import type { Message } from "@bufbuild/protobuf";
import { type ContextValues, createContextKey, createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { Tracer } from "@opentelemetry/api";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { Health } from "@weir/gen/grpc/health/v1/health_pb";
import { ServerReflection } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { type HostedService, hostService, type Metadata, onCallEnd } from "@weir/kit/call";
import { type CallSignal, HangUp } from "@weir/kit/call-signal";
import type { Clock } from "@weir/kit/clock";
import { methodPath } from "@weir/kit/context";
import type { ServerTlsOptions } from "@weir/kit/grpc/credentials";
import type { Entry, GateCall } from "@weir/kit/grpc/gate";
import { createGrpcServer, type GrpcServer } from "@weir/kit/grpc/server";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { beginTrace, type TraceStep } from "@weir/kit/telemetry/trace-context";
import { CallCancelled, toWeirError } from "@weir/kit/weir-error";
import type { Admit, Admitted } from "../admission.ts";
import { clientAddress } from "../auth/client-address.ts";
import type { Caller } from "../auth/caller.ts";
import type { EdgeSettings } from "../config.ts";
import type { BodyMemory } from "../http/body.ts";
import { sourceOf } from "../http/source.ts";
import { clientLeft, type Outcome } from "../report.ts";
import type { Access } from "../routes/route.ts";
import type { PublicMethod, PublicStream, PublicUnary, RpcFacts } from "../rpc/public-methods.ts";
import { tapped } from "../rpc/tap.ts";

export interface GrpcDoorDeps {
  readonly methods: readonly PublicMethod[];
  readonly admit: Admit;
  readonly settings: () => EdgeSettings;
  /** Where the bytes of messages are counted, with those of all other doors. */
  readonly memory: BodyMemory;
  readonly report: (outcome: Outcome) => void;
  readonly newRequestId: () => string;
  readonly tracer: Tracer;
  readonly clock: Clock;
}

/** The public methods as plain gRPC, with health and reflection, on a port of its own. */
export interface GrpcDoor {
  /** Calls that are open. */
  readonly openCount: number;
  /**
   * Opens the port. The largest message is `bodyBytesMax` as it is now.
   * @param address `host:port`; port 0: any free one
   * @param tls undefined: none
   * @returns the address with the true port
   * @throws Error of the system when the port cannot be opened
   */
  listen(address: string, tls: ServerTlsOptions | undefined): Promise<string>;
  /** Says by `grpc.health.v1` that it serves no more, takes no connections, and breaks the calls that outlast the time. */
  drain(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Connections at once, of everybody. */
const connectionsMax = 20_000;
const callsPerConnectionMax = 100;
/** As a head of HTTP. */
const headBytesMax = 16 * 1024;
const idleMs = 600_000;
/** So that clients come to know of edges that were added, behind a balancer that spreads connections. */
const ageMs = 3_600_000;
/** As for a whole request over HTTP; a client that is so slow holds little. */
const receiveTimeoutMs = 300_000;

/** In the place of what was thrown. */
const clientGone = Symbol("the client has gone");

/** A call that is under way, as the port and as its handler see it. */
class Call implements Entry {
  readonly values: ContextValues;
  readonly headers: Metadata;
  readonly id: string;
  readonly label: string;
  readonly startMs: number;
  readonly trace: TraceStep;
  readonly asked: GateCall;
  readonly action: string;
  /** What it holds of the memory for messages. */
  bodyBytes = 0;
  caller: Caller | undefined;
  admitted: Admitted | undefined;
  /** From the arrival until the first message of a stream. */
  firstContentMs: number | undefined;
  /** What it failed with; undefined: it ended well. Until its handler knows better, its client has left. */
  outcome: unknown = clientGone;
  private readonly memory: BodyMemory;
  private readonly ended: (call: Call) => void;

  constructor(
    asked: GateCall,
    action: string,
    { newRequestId, tracer, clock, memory }: GrpcDoorDeps,
    ended: (call: Call) => void,
  ) {
    this.asked = asked;
    this.action = action;
    this.memory = memory;
    this.ended = ended;
    this.id = newRequestId();
    this.label = `/${asked.path}`;
    this.startMs = clock.monotonic();
    this.trace = beginTrace(tracer, `POST ${this.label}`, asked.headers);
    this.values = createContextValues().set(callKey, this);
    this.headers = { "x-request-id": this.id };
  }

  take(bytes: number): boolean {
    return this.memory.take(this, bytes);
  }

  give(bytes: number): void {
    this.memory.give(this, bytes);
  }

  over(): void {
    this.ended(this);
  }
}

type Handler = (request: Message, context: HandlerContext) => Promise<Message> | ReplyStream<Message>;

const callKey = createContextKey<Call | undefined>(undefined);

export function createGrpcDoor(deps: GrpcDoorDeps): GrpcDoor {
  const { methods, admit, settings, memory, report, clock } = deps;
  const accesses = new Map<string, Access | "open">([
    ...methods.map(({ path, access }): [string, Access | "open"] => [path, access]),
    ...Health.methods.map((method): [string, "open"] => [methodPath(method), "open"]),
    [methodPath(ServerReflection.method.serverReflectionInfo), { permission: Permission.KNOWN, endpoint: "" }],
  ]);
  const actions = new Map(methods.map(({ path, action }) => [path, action]));
  const connections = new Map<string, number>();
  let connectionCount = 0;
  let openCount = 0;
  let server: GrpcServer | undefined;

  function connect(address: string | undefined): (() => void) | undefined {
    const source = sourceOf(address);
    const open = connections.get(source) ?? 0;
    if (connectionCount >= connectionsMax || open >= settings().connectionsPerAddressMax) return undefined;
    connectionCount += 1;
    connections.set(source, open + 1);
    return () => {
      connectionCount -= 1;
      const left = (connections.get(source) ?? 1) - 1;
      if (left === 0) connections.delete(source);
      else connections.set(source, left);
    };
  }

  function arrive(asked: GateCall): Entry | Promise<Entry> {
    const { path, headers, address } = asked;
    const call = new Call(asked, actions.get(path) ?? "none", deps, over);
    const access = accesses.get(path);
    const enter = (admitted: Admitted | undefined): Entry => {
      call.admitted = admitted;
      openCount += 1;
      return call;
    };
    if (access === undefined || access === "open") return enter(undefined);
    const refuse = (thrown: unknown): never => {
      call.outcome = thrown;
      end(call);
      throw thrown;
    };
    try {
      const admitted = admit({ headers, address }, access, (caller) => {
        call.caller = caller;
      });
      return admitted instanceof Promise ? admitted.then(enter, refuse) : enter(admitted);
    } catch (thrown) {
      return refuse(thrown);
    }
  }

  function over(call: Call): void {
    openCount -= 1;
    memory.release(call);
    end(call);
  }

  function end(call: Call): void {
    const { outcome: thrown } = call;
    call.admitted?.admission.end();
    const isLeft = thrown === clientGone || thrown instanceof CallCancelled;
    const failure = thrown === undefined || isLeft ? undefined : toWeirError(thrown);
    report({
      id: call.id,
      method: "POST",
      label: call.label,
      status: isLeft ? clientLeft : (failure?.row.openai.status ?? 200),
      startMs: call.startMs,
      isComplete: thrown === undefined,
      firstContentMs: call.firstContentMs,
      caller: call.caller,
      failure,
      defect: failure === thrown ? undefined : thrown,
      span: call.trace.span,
      action: call.action,
      source: () => sourceOf(clientAddress(call.asked.headers, call.asked.address, settings().trustedProxies)),
    });
  }

  async function unary(method: PublicUnary, request: Message, context: HandlerContext): Promise<Message> {
    const call = callOf(context.values);
    const leaving = new HangUp();
    onCallEnd(context, () => {
      if (call.outcome === clientGone) leaving.abort();
    });
    try {
      const reply = await method.call(request, factsOf(call, context, leaving));
      call.outcome = undefined;
      return reply;
    } catch (thrown) {
      call.outcome = thrown;
      throw thrown;
    }
  }

  function stream(method: PublicStream, request: Message, context: HandlerContext): ReplyStream<Message> {
    const call = callOf(context.values);
    const failed = (thrown: unknown): void => {
      call.outcome = thrown;
    };
    try {
      const reply = method.call(request, factsOf(call, context, undefined));
      const message = () => (call.firstContentMs ??= clock.monotonic() - call.startMs);
      return tapped(reply, { message, failed, ended: () => failed(undefined) });
    } catch (thrown) {
      failed(thrown);
      throw thrown;
    }
  }

  function hosted(): HostedService[] {
    const services = new Map<HostedService["service"], Record<string, Handler>>();
    for (const method of methods) {
      const { parent, localName } = method.desc;
      const implementation = services.get(parent) ?? {};
      services.set(parent, implementation);
      implementation[localName] = (request, context) =>
        method.kind === "unary" ? unary(method, request, context) : stream(method, request, context);
    }
    return [...services].map(([service, implementation]) => hostService(service, implementation as object));
  }

  return {
    get openCount() {
      return openCount;
    },
    listen(address, tls) {
      if (server !== undefined) throw new Error("the gRPC port is open already");
      server = createGrpcServer({
        name: "edge",
        hosted: hosted(),
        tls,
        link: false,
        gate: {
          admit: arrive,
          connect,
          callsPerConnectionMax,
          headBytesMax,
          idleMs,
          ageMs,
          receiveTimeoutMs,
          writeStallMs: () => settings().writeStallMs,
        },
        clock,
        messageBytesMax: settings().bodyBytesMax,
      });
      return server.listen(address);
    },
    drain: async (timeoutMs) => server?.drain(timeoutMs),
    close: async () => server?.close(),
  };
}

function callOf(values: ContextValues): Call {
  const call = values.get(callKey);
  if (call === undefined) throw new Error("the gate was passed by");
  return call;
}

function factsOf(call: Call, context: HandlerContext, signal: CallSignal | undefined): RpcFacts {
  return {
    caller: call.caller,
    admission: call.admitted?.admission,
    requestId: call.id,
    headers: call.asked.headers,
    trace: call.trace,
    timeoutMs: context.timeoutMs(),
    signal,
  };
}
