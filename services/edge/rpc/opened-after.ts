import { ReplyStream } from "@weir/kit/reply-stream";
import { asError } from "@weir/kit/weir-error";

/** The reply of a call that begins when something else has succeeded; fails as that does. Left before, the call is not made. */
export function openedAfter<T>(waiting: Promise<undefined>, open: () => ReplyStream<T>): ReplyStream<T> {
  let reply: ReplyStream<T> | undefined;
  let left = false;
  const stream = new ReplyStream<T>({
    begin: ignore,
    poll() {
      const message = reply?.poll();
      if (message === undefined && reply?.ended === true) stream.end();
      return message;
    },
    hangUp() {
      left = true;
      return reply?.return().then(ignore);
    },
  });
  waiting
    .then(() => {
      if (left) return;
      reply = open();
      reply.onReady = () => stream.ready();
      stream.ready();
    })
    // Also what `open` throws, which nobody else would hear of.
    .catch((thrown: unknown) => stream.fail(asError(thrown)));
  return stream;
}

function ignore(): void {}
