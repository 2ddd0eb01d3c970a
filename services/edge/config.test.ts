import { create } from "@bufbuild/protobuf";
import { EdgeConfigSchema } from "@weir/gen/weir/config/v1/edge_pb";
import { expect, test } from "vitest";
import { edgeSettings } from "./config.ts";

test("what is absent has the default that the proto documents", () => {
  expect(edgeSettings()).toMatchObject({
    bodyBytesMax: 33_554_432,
    requestsPerMinute: 10_000,
    tokensPerMinute: 10_000_000,
    requestsMax: 10_000,
    corsOrigins: [],
    heartbeatMs: 15_000,
    holdHeadersMs: 45_000,
    writeStallMs: 60_000,
    metricsAddress: undefined,
  });
  expect(edgeSettings(create(EdgeConfigSchema, {}))).toEqual(edgeSettings());
});

test("what is set holds", () => {
  const config = create(EdgeConfigSchema, {
    bodyBytesMax: 1_073_741_824,
    heartbeat: { seconds: 1n, nanos: 500_000_000 },
    metricsAddress: "[::1]:9464",
  });
  expect(edgeSettings(config)).toMatchObject({
    bodyBytesMax: 1_073_741_824,
    bodiesBytesMax: 1_073_741_824,
    heartbeatMs: 1_500,
    metricsAddress: { host: "::1", port: 9_464 },
  });
});

test.each(["9464", "localhost", "a:99999", "a b:1", "::1:9464"])("metrics_address %s is refused", (metricsAddress) => {
  expect(() => edgeSettings(create(EdgeConfigSchema, { metricsAddress }))).toThrow("edge.metrics_address");
});
