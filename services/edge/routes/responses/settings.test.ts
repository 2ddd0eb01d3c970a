import { create } from "@bufbuild/protobuf";
import { ResponsesConfigSchema } from "@weir/gen/weir/config/v1/edge_pb";
import { expect, test } from "vitest";
import { responsesSettings } from "./settings.ts";

test("what is absent has the default that the proto documents", () => {
  const defaults = {
    store: true,
    timeToLiveMs: 2_592_000_000,
    bytesMax: 16_777_216,
    backgroundMax: 256,
    backgroundTimeoutMs: 3_600_000,
    leaseMs: 15_000,
  };
  expect(responsesSettings()).toEqual(defaults);
  expect(responsesSettings(create(ResponsesConfigSchema, {}))).toEqual(defaults);
});

test("what is set holds, zero too", () => {
  const config = create(ResponsesConfigSchema, {
    timeToLive: { seconds: 60n },
    bytesMax: 1_024,
    backgroundMax: 0,
    store: false,
    lease: { seconds: 1n, nanos: 500_000_000 },
  });
  expect(responsesSettings(config)).toMatchObject({
    timeToLiveMs: 60_000,
    bytesMax: 1_024,
    backgroundMax: 0,
    store: false,
    leaseMs: 1_500,
  });
});
