import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { ReplyStream } from "@weir/kit/reply-stream";
import { asError } from "@weir/kit/weir-error";
import { Attempt } from "./attempt.ts";

/**
 * What a caller gets of its attempt, message by message, as fast as it reads. Leaving it cancels the attempt.
 * @param open gets the attempt under way, or gives the one message that is the whole answer
 */
export function answerStream(open: () => Promise<Attempt | RunAttemptResponse>): ReplyStream<RunAttemptResponse> {
  let attempt: Attempt | undefined;
  let whole: RunAttemptResponse | undefined;
  let left = false;
  let ended = false;
  let opening: Promise<void> | undefined;

  function opened(result: Attempt | RunAttemptResponse): void {
    if (result instanceof Attempt) {
      attempt = result;
      if (left) attempt.cancel();
      // The provider may send several pieces in one go; they leave as one message.
      attempt.outbox.onReady = () => stream.readySoon();
    } else {
      whole = result;
    }
    stream.ready();
  }

  const stream = new ReplyStream<RunAttemptResponse>({
    begin() {
      opening = open().then(opened, (thrown: unknown) => stream.fail(asError(thrown)));
    },
    poll() {
      // A caller of the canonical form gets no tail: its last event says the same.
      if (ended) return undefined;
      const message = whole ?? attempt?.outbox.poll();
      if (message !== undefined && isLast(message)) {
        ended = true;
        stream.end();
      }
      whole = undefined;
      return message;
    },
    hangUp() {
      left = true;
      attempt?.cancel();
      return opening;
    },
  });
  return stream;
}

/** Whether a message ends its answer. */
function isLast({ payload }: RunAttemptResponse): boolean {
  if (payload.case === "wire") return payload.value.tail !== undefined;
  return payload.case === "event" && payload.value.kind.case === "end";
}
