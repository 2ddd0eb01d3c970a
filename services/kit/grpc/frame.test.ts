import { create, fromBinary } from "@bufbuild/protobuf";
import { ListRoutesResponseSchema } from "@weir/gen/weir/routing/v1/route_service_pb";
import { expect, test } from "vitest";
import { frame } from "./frame.ts";

const answerOf = (alias: string) => create(ListRoutesResponseSchema, { routes: [{ name: `routes/${alias}`, alias }] });

test("a message is framed as it is at the time, a frozen one by the bytes that are kept of it", () => {
  const changing = answerOf("a");
  const first = frame(ListRoutesResponseSchema, changing);
  expect([first[0], first.readUInt32BE(1)]).toEqual([0, first.length - 5]);
  changing.routes = answerOf("b").routes;
  expect(fromBinary(ListRoutesResponseSchema, frame(ListRoutesResponseSchema, changing).subarray(5))).toEqual(
    answerOf("b"),
  );
  const frozen = Object.freeze(answerOf("c"));
  const [made, again, third] = [1, 2, 3].map(() => frame(ListRoutesResponseSchema, frozen));
  expect(again).toEqual(made);
  expect(third).toBe(again);
  const large = Object.freeze(answerOf("x".repeat(70_000)));
  expect(frame(ListRoutesResponseSchema, large)).not.toBe(frame(ListRoutesResponseSchema, large));
});
