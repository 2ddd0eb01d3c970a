import { ReplyStream } from "@weir/kit/reply-stream";

/** Who listens to a stream that passes by. Each may throw nothing. */
export interface Tap<T> {
  readonly message?: (message: T) => void;
  /** It broke off. */
  readonly failed?: (thrown: unknown) => void;
  /** It ended well. */
  readonly ended?: () => void;
}

/** The same stream, listened to. `failed` or `ended` is called at most once; neither when the reader leaves. */
export function tapped<T>(stream: ReplyStream<T>, tap: Tap<T>): ReplyStream<T> {
  const passed = new ReplyStream<T>({
    begin() {
      stream.onReady = () => passed.ready();
    },
    poll() {
      let message: T | undefined;
      try {
        message = stream.poll();
      } catch (thrown) {
        tap.failed?.(thrown);
        throw thrown;
      }
      if (message !== undefined) tap.message?.(message);
      else if (stream.ended) {
        tap.ended?.();
        passed.end();
      }
      return message;
    },
    hangUp: () => stream.return().then(ignore, ignore),
  });
  return passed;
}

function ignore(): void {}
