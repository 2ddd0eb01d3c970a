import { expect, test } from "vitest";
import { ReplyStream } from "./reply-stream.ts";

/** A stream of what a test puts into `queue`; notes what it is told. */
function create() {
  const queue: (string | Error)[] = [];
  const told: string[] = [];
  const stream = new ReplyStream<string>({
    begin: () => void told.push("begin"),
    poll() {
      const next = queue.shift();
      if (next instanceof Error) throw next;
      return next;
    },
    hangUp: () => void told.push("hang up"),
  });
  return { stream, queue, told };
}

/** Notes in `calls` how often `onReady` was called. */
function listen(stream: ReplyStream<string>): { calls: number } {
  const heard = { calls: 0 };
  stream.onReady = () => {
    heard.calls += 1;
  };
  return heard;
}

test("what is there is taken at once, without a promise", () => {
  const { stream, queue, told } = create();
  expect(told).toEqual([]);
  expect(stream.poll()).toBeUndefined();
  expect(told).toEqual(["begin"]);
  const heard = listen(stream);
  queue.push("a", "b");
  stream.ready();
  expect(heard.calls).toBe(1);
  expect([stream.poll(), stream.poll(), stream.poll()]).toEqual(["a", "b", undefined]);
  expect(stream.ended).toBe(false);
  stream.end();
  expect(heard.calls).toBe(2);
  expect(stream.poll()).toBeUndefined();
  expect(stream.ended).toBe(true);
});

test("what comes in one go wakes its reader once, when all of it is there", async () => {
  const { stream, queue } = create();
  stream.poll();
  const got: (string | undefined)[] = [];
  const heard = listen(stream);
  const { onReady } = stream;
  stream.onReady = () => {
    onReady?.();
    for (let message = stream.poll(); message !== undefined; message = stream.poll()) got.push(message);
  };
  for (const text of ["a", "b", "c"]) {
    queue.push(text);
    stream.readySoon();
  }
  expect(heard.calls).toBe(0);
  await Promise.resolve();
  expect(heard.calls).toBe(1);
  expect(got).toEqual(["a", "b", "c"]);
});

test("a source that speaks while it is asked does not call its reader back", () => {
  let asked = 0;
  const stream: ReplyStream<string> = new ReplyStream<string>({
    begin: () => stream.ready(),
    poll() {
      asked += 1;
      stream.ready();
      stream.end();
      return asked === 1 ? "last" : undefined;
    },
    hangUp: () => undefined,
  });
  const heard = listen(stream);
  expect(stream.poll()).toBe("last");
  expect(stream.ended).toBe(false);
  expect(stream.poll()).toBeUndefined();
  expect(stream.ended).toBe(true);
  expect(heard.calls).toBe(0);
});

test("a failure is thrown once, after what came before it", () => {
  const { stream, queue } = create();
  queue.push("a");
  const failure = new Error("late");
  stream.fail(failure);
  stream.fail(new Error("later"));
  stream.end();
  expect(stream.poll()).toBe("a");
  expect(stream.ended).toBe(false);
  expect(() => stream.poll()).toThrow(failure);
  expect(stream.ended).toBe(true);
  expect(stream.poll()).toBeUndefined();
});

test("a failure at once goes before what was not taken, also when an end was told", async () => {
  const { stream, queue } = create();
  stream.poll();
  queue.push("a");
  stream.end();
  const failure = new Error("now");
  stream.fail(failure, true);
  await expect(stream.next()).rejects.toBe(failure);
  expect(stream.ended).toBe(true);
  expect(stream.poll()).toBeUndefined();
});

test("a message that cannot be made ends the stream and hangs up", () => {
  const { stream, queue, told } = create();
  const defect = new Error("no message");
  queue.push("a", defect, "b");
  expect(stream.poll()).toBe("a");
  expect(() => stream.poll()).toThrow(defect);
  expect(told).toEqual(["begin", "hang up"]);
  expect(stream.poll()).toBeUndefined();
  expect(stream.ended).toBe(true);
});

test("leaving hangs up once and wakes whoever waits", async () => {
  const polled = create();
  polled.stream.poll();
  const heard = listen(polled.stream);
  await polled.stream.return();
  await polled.stream.return();
  expect(polled.told).toEqual(["begin", "hang up"]);
  expect(heard.calls).toBeGreaterThan(0);
  expect(polled.stream.ended).toBe(true);

  const awaited = create();
  const next = awaited.stream.next();
  await awaited.stream.return();
  expect(await next).toEqual({ done: true, value: undefined });
});

test("a stream that was never read is left without a word to its source", async () => {
  const { stream, told } = create();
  await stream.return();
  expect(stream.poll()).toBeUndefined();
  expect(told).toEqual([]);
});

test("promises and polling may take turns", async () => {
  const { stream, queue } = create();
  const first = stream.next();
  queue.push("a", "b", "c");
  stream.ready();
  expect(await first).toEqual({ done: false, value: "a" });
  expect(stream.poll()).toBe("b");
  expect(await stream.next()).toEqual({ done: false, value: "c" });
});
