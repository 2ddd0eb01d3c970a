import { startTelemetry } from "@weir/kit/telemetry/setup";
import { expect, test } from "vitest";
import { createTestPool, hello, readAll, startProvider, streamText } from "./testing/pool-under-test.ts";

test("what happened is on the scrape, by provider", async () => {
  const telemetry = await startTelemetry({ service: "pool", version: "1" });
  let status = 200;
  await using provider = await startProvider((response) =>
    response.writeHead(status, { "content-type": "text/event-stream" }).end(status === 200 ? streamText : ""),
  );
  await using pool = createTestPool(provider.url, {}, { meter: telemetry.meter });
  for (status of [200, 200, 503, 429]) await readAll(pool.run({ ...hello, stream: true }));
  const text = await telemetry.renderMetrics();
  expect(text).toContain('llm_provider_requests_total{provider="p",outcome="completed"} 2\n');
  expect(text).toContain('llm_provider_requests_total{provider="p",outcome="failed"} 2\n');
  expect(text).toContain('llm_provider_errors_total{provider="p",class="server"} 1\n');
  expect(text).toContain('llm_provider_errors_total{provider="p",class="rate_limit"} 1\n');
  expect(text).toContain('llm_provider_latency_seconds_count{provider="p",stream="true"} 4\n');
  expect(text).toContain('llm_provider_time_to_first_token_seconds_count{provider="p"} 2\n');
  expect(text).toContain('llm_provider_open_calls{provider="p"} 0\n');
  expect(text).toMatch(/^llm_provider_open_streams 0$/m);
  expect(text).not.toContain("secret");
  await telemetry.shutdown();
});
