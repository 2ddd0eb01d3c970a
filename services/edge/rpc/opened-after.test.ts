import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type ReplyStream, streamOf } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { openedAfter } from "./opened-after.ts";

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

async function* two(): AsyncGenerator<string, void, undefined> {
  yield "a";
  yield "b";
}

const refused = new WeirError(ErrorReason.INVALID_REQUEST);

test("a reply comes after what was waited for", async () => {
  expect(await all(openedAfter(Promise.resolve(undefined), () => streamOf(two())))).toEqual(["a", "b"]);
});

test("what was waited for fails, and so does the reply, which is not asked for", async () => {
  let opened = 0;
  const reply = openedAfter(Promise.reject(refused), () => {
    opened += 1;
    return streamOf(two());
  });
  await expect(all(reply)).rejects.toBe(refused);
  expect(opened).toBe(0);
});

test("a reply that cannot be asked for fails as the asking does, and nothing goes unheard", async () => {
  const reply = openedAfter(Promise.resolve(undefined), (): ReplyStream<string> => {
    throw refused;
  });
  await expect(all(reply)).rejects.toBe(refused);
});

test("a reply that was left before is not asked for", async () => {
  let opened = 0;
  let goOn: (value: undefined) => void = () => undefined;
  const waiting = new Promise<undefined>((resolve) => {
    goOn = resolve;
  });
  const reply = openedAfter(waiting, () => {
    opened += 1;
    return streamOf(two());
  });
  const first = reply.next();
  await reply.return();
  goOn(undefined);
  expect(await first).toEqual({ done: true, value: undefined });
  expect(opened).toBe(0);
});
