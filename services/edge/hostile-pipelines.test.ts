import { afterEach, expect, test } from "vitest";
import { eventually, hello, openRaw, rawPost, startEdge, stopEdges, untilCancelled } from "./testing/harness.ts";

afterEach(stopEdges);

test("a connection that goes on sending requests when they were refused is cut, and its calls are cancelled", async () => {
  const edge = await startEdge({
    async *chat({ signal }) {
      await untilCancelled(signal);
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key, JSON.stringify(hello)).repeat(250));
  expect(await raw.whole()).toBe("");
  await eventually(() => edge.calls.every((call) => call.signal.aborted));
});
