import type { Message } from "@bufbuild/protobuf";
import type { ReplyStream } from "@weir/kit/reply-stream";
import type { EdgeSettings } from "../config.ts";
import type { ErrorVoice, Exchange, HeaderList } from "../http/exchange.ts";
import type { Measures } from "../measures.ts";
import { eventForm } from "../routes/stream-form.ts";
import type { StreamKind } from "./accept.ts";
import { eventVoice, lineVoice } from "./status-voice.ts";

/** How the messages of a stream leave. */
interface Form {
  readonly headers: HeaderList;
  readonly voice: ErrorVoice;
  frame(json: string): string;
  /** What a client gets that waits; undefined: nothing can be said that is no message. */
  readonly waiting: string | undefined;
}

const forms: Readonly<Record<StreamKind, Form>> = {
  events: {
    headers: eventForm.headers,
    voice: eventVoice,
    frame: (json) => `data: ${json}\n\n`,
    waiting: eventForm.ping,
  },
  lines: {
    headers: ["content-type", "application/x-ndjson", "cache-control", "no-cache", "x-accel-buffering", "no"],
    voice: lineVoice,
    frame: (json) => `${json}\n`,
    waiting: undefined,
  },
};

export interface StreamOptions {
  readonly kind: StreamKind;
  readonly settings: EdgeSettings;
  readonly measures: Measures;
  /** The JSON of a message. */
  readonly write: (message: Message) => string;
}

/**
 * Sends the messages of a call as they come. The head waits for the first of them, so that a failure before it has a status of its own;
 * events begin without one after `hold_headers`. A later failure is told in the stream, and then the connection is cut. A client
 * that does not read holds the call back; one that leaves ends it.
 * @throws what the call fails with
 */
export async function sendStream(
  exchange: Exchange,
  reply: ReplyStream<Message>,
  { kind, settings, measures, write }: StreamOptions,
): Promise<void> {
  const form = forms[kind];
  let counted = false;
  const begin = () => {
    if (!exchange.isSilent) return;
    counted = true;
    measures.streamOpened();
    exchange.voice = form.voice;
    exchange.begin(200, form.headers, true);
  };
  const expectMore = () => {
    const { waiting } = form;
    if (waiting === undefined) return;
    exchange.alarm(exchange.isSilent ? settings.holdHeadersMs : settings.heartbeatMs, () => {
      begin();
      if (!exchange.isStalled) exchange.write(waiting);
      exchange.delayAlarm(settings.heartbeatMs);
    });
  };
  exchange.onGone = () => void reply.return();
  try {
    if (exchange.request.method === "HEAD") {
      exchange.onGone = undefined;
      begin();
      exchange.end("");
      return;
    }
    expectMore();
    for await (const message of reply) {
      exchange.clearAlarm();
      if (exchange.isOver) return;
      begin();
      if (!exchange.write(form.frame(write(message)))) {
        await exchange.writable();
        if (!exchange.isOver) exchange.clearAlarm();
      }
      expectMore();
    }
    if (exchange.isOver) return;
    exchange.onGone = undefined;
    begin();
    exchange.end("");
  } finally {
    if (counted) measures.streamClosed();
    void reply.return();
  }
}
