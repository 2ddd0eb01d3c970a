import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { CallOptions, Door, Outgoing } from "../call.ts";
import type { Clock } from "../clock.ts";
import type { TlsOptions } from "../grpc/credentials.ts";
import { streamOf } from "../reply-stream.ts";
import { WeirError } from "../weir-error.ts";
import { type Endpoint, isNamed, resolveAddress } from "./address.ts";
import { ClientCall, type ReplyReader, StreamReply, UnaryReply, unreachable } from "./client-call.ts";
import { Link } from "./client.ts";
import type { LinkSettings } from "./settings.ts";

export interface PeersOptions {
  /** Name of the service that the instances serve, for texts and logs. */
  readonly peerName: string;
  /** Where its instances are: `host:port`, `[v6]:port`, `unix:/path`; a DNS name stands for all its records. */
  readonly addresses: readonly string[];
  readonly tls: TlsOptions | undefined;
  /** Name of this process. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly messageBytesMax: number;
  readonly link: LinkSettings;
  /** How long calls wait, from the moment when no instance was ready any more. After that they fail at once. */
  readonly connectWaitMs: number;
  readonly onEvent: (event: PeerEvent) => void;
}

/** Something that happened to a link, for logs. */
export interface PeerEvent {
  readonly kind: "ready" | "lost" | "draining";
  readonly peerName: string;
  readonly address: string;
  /** Why the link was lost. */
  readonly why?: string;
}

/** The state of one instance of a service. */
export interface InstanceStatus {
  readonly address: string;
  readonly state: "connecting" | "ready" | "waiting";
  readonly openCalls: number;
  /** How often a link to it was lost or could not be opened. */
  readonly failures: number;
  /** Why the last one was; undefined when none was. */
  readonly lastError: string | undefined;
}

/** A door to all instances of one service. */
export interface Peers extends Door {
  start(): void;
  /** Breaks all links, and makes no new ones. */
  close(): void;
  status(): readonly InstanceStatus[];
}

const connectTimeoutMs = 5000;
const resolveIntervalMs = 10_000;
const backoffFirstMs = 50;
const backoffMaxMs = 5000;
/** While no instance is ready, calls wait: each instance is tried this often at least. */
const backoffMaxNeededMs = 500;
/** Calls that may wait for an instance; more fail at once. */
const waitingMax = 10_000;

interface Instance {
  readonly endpoint: Endpoint;
  link: Link | undefined;
  /** Links that finish their calls. */
  readonly leaving: Set<Link>;
  attempts: number;
  failures: number;
  lastError: string | undefined;
  /** What was said of it since it was last ready. */
  told: string | undefined;
  cancelRetry: (() => void) | undefined;
  gone: boolean;
}

/** @throws Error when an address is none */
export function createPeers(options: PeersOptions): Peers {
  const { clock, peerName } = options;
  const named = options.addresses.some(isNamed);
  const instances = new Map<string, Instance>();
  const waiting = new Set<ClientCall>();
  const settings = {
    peerName,
    clock,
    messageBytesMax: options.messageBytesMax,
    windowBytes: options.link.windowBytes,
  };
  let ready: Link[] = [];
  let closed = false;
  /** When calls stop waiting; undefined while an instance is ready. */
  let waitUntil: number | undefined;
  let cancelWait: (() => void) | undefined;
  let cancelResolve: (() => void) | undefined;
  let resolving = false;

  function start(): void {
    expectInstances();
    void resolve();
  }

  /** From now on calls wait, but not for ever. */
  function expectInstances(): void {
    waitUntil = clock.monotonic() + options.connectWaitMs;
    cancelWait = clock.after(options.connectWaitMs, failWaiting);
  }

  function failWaiting(): void {
    for (const call of waiting) call.giveUp(unreachable(peerName));
    waiting.clear();
  }

  async function resolve(): Promise<void> {
    if (resolving || closed) return;
    resolving = true;
    cancelResolve?.();
    const found = new Map<string, Endpoint>();
    let complete = true;
    for (const address of options.addresses) {
      try {
        for (const endpoint of await resolveAddress(address)) found.set(endpoint.address, endpoint);
      } catch {
        complete = false;
      }
    }
    resolving = false;
    if (closed) return;
    for (const [address, endpoint] of found) if (!instances.has(address)) add(endpoint);
    // A resolver that fails says nothing about the instances that are there.
    if (complete) for (const [address, instance] of instances) if (!found.has(address)) remove(address, instance);
    const delayMs = complete ? resolveIntervalMs : 1000;
    if (named) cancelResolve = clock.after(delayMs, () => void resolve());
  }

  function add(endpoint: Endpoint): void {
    const instance: Instance = {
      endpoint,
      link: undefined,
      leaving: new Set(),
      attempts: 0,
      failures: 0,
      lastError: undefined,
      told: undefined,
      cancelRetry: undefined,
      gone: false,
    };
    instances.set(endpoint.address, instance);
    connect(instance);
  }

  function remove(address: string, instance: Instance): void {
    instances.delete(address);
    instance.gone = true;
    instance.cancelRetry?.();
    instance.link?.retire();
  }

  function connect(instance: Instance): void {
    const { endpoint } = instance;
    const link = new Link({
      endpoint,
      tls: options.tls,
      peerName,
      name: options.name,
      messageBytesMax: options.messageBytesMax,
      link: options.link,
      clock,
      connectTimeoutMs,
      onReady: () => {
        instance.attempts = 0;
        instance.told = undefined;
        ready = [...ready, link];
        options.onEvent({ kind: "ready", peerName, address: endpoint.address });
        welcome();
      },
      onDraining: () => {
        options.onEvent({ kind: "draining", peerName, address: endpoint.address });
        instance.leaving.add(link);
        lose(instance, link);
      },
      onClosed: (why) => {
        if (why !== undefined) {
          instance.failures += 1;
          instance.lastError = why;
          // Said once for each loss, not again for each attempt after it.
          if (instance.told !== why) options.onEvent({ kind: "lost", peerName, address: endpoint.address, why });
          instance.told = why;
        }
        if (!instance.leaving.delete(link)) lose(instance, link);
      },
    });
    instance.link = link;
  }

  /** An instance has no link for new calls any more. */
  function lose(instance: Instance, link: Link): void {
    const count = ready.length;
    ready = ready.filter((other) => other !== link);
    instance.link = undefined;
    if (closed) return;
    if (count > 0 && ready.length === 0) {
      expectInstances();
      // Those that were away for long are tried seldom, and may have come back since.
      for (const other of instances.values()) if (other !== instance && other.link === undefined) hasten(other);
    }
    if (instance.gone) return;
    retryLater(instance);
    if (named) void resolve();
  }

  function hasten(instance: Instance): void {
    instance.cancelRetry?.();
    instance.attempts = 0;
    retryLater(instance);
  }

  function retryLater(instance: Instance): void {
    const longestMs = ready.length === 0 ? backoffMaxNeededMs : backoffMaxMs;
    const backoffMs = Math.min(longestMs, backoffFirstMs * 2 ** instance.attempts);
    instance.attempts = Math.min(instance.attempts + 1, 10);
    instance.cancelRetry = clock.after(backoffMs * (0.5 + options.random() / 2), () => connect(instance));
  }

  /** An instance is ready: those who wait go on. */
  function welcome(): void {
    waitUntil = undefined;
    cancelWait?.();
    const calls = [...waiting];
    waiting.clear();
    for (const call of calls) if (!call.ended) dispatch(call);
  }

  /** The less loaded of two random instances. */
  function pick(): Link | undefined {
    const { length } = ready;
    if (length <= 1) return ready[0];
    const first = Math.floor(options.random() * length);
    const second = (first + 1 + Math.floor(options.random() * (length - 1))) % length;
    const [a, b] = [ready[first] as Link, ready[second] as Link];
    return b.openCalls < a.openCalls ? b : a;
  }

  function dispatch(call: ClientCall): void {
    const picked = pick();
    const link = picked?.hasRoom === false ? ready.find((other) => other.hasRoom) : picked;
    if (link !== undefined) {
      call.send(link);
    } else if (picked !== undefined) {
      call.giveUp(new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1000 }));
    } else if (closed || waiting.size >= waitingMax || (waitUntil !== undefined && clock.monotonic() >= waitUntil)) {
      call.giveUp(unreachable(peerName));
    } else {
      waiting.add(call);
      call.onOver = () => waiting.delete(call);
    }
  }

  function open(
    desc: DescMethodUnary | DescMethodServerStreaming | DescMethodBiDiStreaming,
    request: Outgoing,
    callOptions: CallOptions,
    reader: ReplyReader,
  ): ClientCall {
    const call = new ClientCall(desc, request, callOptions, settings, reader);
    if (call.begin()) dispatch(call);
    return call;
  }

  return {
    unary: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      request: MessageInitShape<I>,
      callOptions: CallOptions,
    ) =>
      new Promise<MessageShape<O>>((resolveCall, rejectCall) => {
        open(method, request, callOptions, new UnaryReply(method, resolveCall, rejectCall));
      }),
    stream: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodServerStreaming<I, O>,
      request: MessageInitShape<I>,
      callOptions: CallOptions,
    ) => new StreamReply<O>(method.output, (reader) => open(method, request, callOptions, reader)).stream,
    duplex: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodBiDiStreaming<I, O>,
      requests: AsyncIterable<MessageInitShape<I>>,
      callOptions: CallOptions,
    ) =>
      new StreamReply<O>(method.output, (reader) =>
        open(method, streamOf<MessageInitShape<DescMessage>>(requests), callOptions, reader),
      ).stream,
    start,
    close() {
      if (closed) return;
      closed = true;
      cancelWait?.();
      cancelResolve?.();
      failWaiting();
      for (const instance of instances.values()) {
        instance.cancelRetry?.();
        instance.link?.close();
        for (const link of instance.leaving) link.close();
      }
      instances.clear();
    },
    status: () =>
      [...instances.values()].map((instance) => ({
        address: instance.endpoint.address,
        state: instance.link === undefined ? "waiting" : instance.link.state === "ready" ? "ready" : "connecting",
        openCalls:
          (instance.link?.openCalls ?? 0) + [...instance.leaving].reduce((sum, link) => sum + link.openCalls, 0),
        failures: instance.failures,
        lastError: instance.lastError,
      })),
  };
}
