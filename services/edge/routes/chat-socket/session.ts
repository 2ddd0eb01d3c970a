import { create, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type ChatSocketRequest,
  ChatSocketRequestSchema,
  ChatSocketResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_socket_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { validateRequest } from "@weir/kit/validation";
import { CallCancelled, toWeirError, WeirError } from "@weir/kit/weir-error";
import { readRequest, statusOf, writeResponse } from "./frames.ts";

/** A reply that was let in. */
export interface OpenReply {
  /** Of GenerateResponse. */
  readonly reply: ReplyStream<Message>;
  /** What the first message of the conversation names. */
  readonly requestId: string;
  /** Gives back what the call holds of its caller's limits. To be called once, when the reply has ended or was left. */
  readonly end: () => void;
}

/** What a session needs of its connection and of the gateway. */
export interface SessionDeps {
  /** Sends one message, in order. @returns false when the client does not keep up; `resume` says when it does again */
  readonly send: (data: string | Uint8Array) => boolean;
  /** Lets the caller in for one reply, or throws WeirError. */
  readonly open: (request: GenerateRequest) => Promise<OpenReply>;
  /** Told of what a reply threw that is no WeirError. */
  readonly onDefect: (thrown: unknown) => void;
}

/** The conversations of one WebSocket. */
export interface ChatSession {
  /** Takes a message of the client. Never throws: what is wrong with it is told. */
  receive(data: Buffer, isBinary: boolean): void;
  /** The client keeps up again. */
  resume(): void;
  /** Takes no new conversations; those that are open go on. */
  drain(): void;
  /** Ends every conversation, because its caller may not go on, and says so. */
  expel(error: WeirError): void;
  /** Gives everything up, because the connection is gone. */
  close(): void;
  /** Conversations that are open. */
  readonly openCount: number;
}

interface Conversation {
  readonly id: string;
  readonly isBinary: boolean;
  /** Undefined while it is let in. */
  opened: OpenReply | undefined;
  isOver: boolean;
  /** Whether something was said of it. */
  isKnown: boolean;
}

/** To whom something is said. */
type Listener = Pick<Conversation, "id" | "isBinary"> & Partial<Conversation>;

/** Conversations of one connection; a client that wants more opens another. */
export const conversationsMax = 64;

export function createChatSession({ send, open, onDefect }: SessionDeps): ChatSession {
  const conversations = new Map<string, Conversation>();
  let blocked = false;
  let draining = false;

  function say(to: Listener, kind: MessageInitShape<typeof ChatSocketResponseSchema>["kind"]): void {
    const requestId = to.isKnown === false ? (to.opened?.requestId ?? "") : "";
    if (to.isKnown === false) to.isKnown = true;
    const response = create(ChatSocketResponseSchema, { id: to.id, kind: kind ?? { case: undefined }, requestId });
    if (!send(writeResponse(response, to.isBinary))) blocked = true;
  }

  function refuse(to: Listener, thrown: unknown): void {
    const error = toWeirError(thrown);
    if (error !== thrown && !(thrown instanceof CallCancelled)) onDefect(thrown);
    say(to, { case: "error", value: statusOf(error) });
  }

  /** Ends a conversation, and leaves its reply if that has not ended. */
  function finish(conversation: Conversation): void {
    if (conversation.isOver) return;
    conversation.isOver = true;
    conversations.delete(conversation.id);
    const { opened } = conversation;
    if (opened === undefined) return;
    opened.reply.onReady = undefined;
    opened.reply.return().then(ignore, ignore);
    opened.end();
  }

  /** Passes on what is there, until the client does not keep up. */
  function pump(conversation: Conversation): void {
    const { opened } = conversation;
    while (opened !== undefined && !conversation.isOver && !blocked) {
      try {
        const message = opened.reply.poll();
        if (message === undefined) {
          if (opened.reply.ended) finish(conversation);
          return;
        }
        const { payload } = message as GenerateResponse;
        if (payload.case === "event") say(conversation, { case: "event", value: payload.value });
      } catch (thrown) {
        finish(conversation);
        refuse(conversation, thrown);
      }
    }
  }

  async function begin(conversation: Conversation, request: GenerateRequest): Promise<void> {
    try {
      const opened = await open(request);
      conversation.opened = opened;
      if (conversation.isOver) {
        // It was given up meanwhile; what was never asked for a message was never begun.
        opened.end();
        return;
      }
      opened.reply.onReady = () => pump(conversation);
      pump(conversation);
    } catch (thrown) {
      if (conversation.isOver) return;
      finish(conversation);
      refuse(conversation, thrown);
    }
  }

  function generate(id: string, isBinary: boolean, request: GenerateRequest): void {
    if (id === "") throw invalid("A conversation needs an `id`.", "id");
    if (conversations.has(id)) throw invalid("A conversation of this `id` is open.", "id");
    validateRequest(GenerateRequestSchema, request);
    if (draining) throw new WeirError(ErrorReason.OVERLOADED, { text: leaving, retryAfterMs: 1_000 });
    if (conversations.size >= conversationsMax) {
      throw new WeirError(ErrorReason.OVERLOADED, {
        text: `${conversationsMax} conversations are open on this connection; end one, or open another connection.`,
        retryAfterMs: 1_000,
      });
    }
    const conversation: Conversation = { id, isBinary, opened: undefined, isOver: false, isKnown: false };
    conversations.set(id, conversation);
    void begin(conversation, request);
  }

  function obey({ id, kind }: ChatSocketRequest, isBinary: boolean): void {
    switch (kind.case) {
      case "generate":
        return generate(id, isBinary, kind.value);
      case "cancel": {
        const conversation = conversations.get(id);
        // It may have ended while the message was on its way.
        if (conversation === undefined) return undefined;
        finish(conversation);
        return say(conversation, { case: "cancelled", value: {} });
      }
      case "ping":
        return say({ id: "", isBinary }, { case: "pong", value: kind.value });
      case undefined:
        throw invalid("The message asks for nothing: set `generate`, `cancel` or `ping`.");
    }
  }

  return {
    receive(data, isBinary) {
      let id = "";
      try {
        const request = readRequest(data, isBinary);
        validateRequest(ChatSocketRequestSchema, request);
        id = request.id;
        obey(request, isBinary);
      } catch (thrown) {
        // An id that is in use belongs to the conversation that has it: its reply goes on.
        refuse({ id: conversations.has(id) ? "" : id, isBinary }, thrown);
      }
    },
    resume() {
      if (!blocked) return;
      blocked = false;
      const waiting = Array.from(conversations.values());
      for (const conversation of waiting) {
        if (blocked) return;
        // Next time the others come first, so that one that has much to say does not keep them waiting.
        conversations.delete(conversation.id);
        conversations.set(conversation.id, conversation);
        pump(conversation);
      }
    },
    drain() {
      draining = true;
    },
    expel(error) {
      const open = Array.from(conversations.values());
      for (const conversation of open) {
        finish(conversation);
        refuse(conversation, error);
      }
      if (open.length === 0) refuse({ id: "", isBinary: false }, error);
    },
    close() {
      for (const conversation of conversations.values()) finish(conversation);
    },
    get openCount() {
      return conversations.size;
    },
  };
}

const leaving = "The gateway is shutting down; open another connection.";

function invalid(text: string, param?: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param !== undefined && { metadata: { param } }) });
}

function ignore(): void {}
