import { startTelemetry } from "@weir/kit/telemetry/setup";
import { expect, test } from "vitest";
import { createMeasures } from "./measures.ts";

test("what is measured is scraped under the documented names, with few labels", async () => {
  const telemetry = await startTelemetry({ service: "edge", version: "1" });
  try {
    const measures = createMeasures(telemetry.meter, { openRequests: () => 3, keys: () => 2 });
    measures.answered("/v1/models", "GET", 200, 0.02);
    measures.answered("/v1/models", "GET", 200, 0.03);
    measures.answered("none", "BREW", 404, 0.001);
    measures.rateLimited({ scope: "tenant", kind: "tokens", window: "day" });
    measures.rateLimited({ scope: "alias", kind: "concurrent", window: undefined });
    measures.firstContent("/v1/chat/completions", 0.3);
    measures.streamOpened();
    measures.streamOpened();
    measures.streamClosed();
    const text = await telemetry.renderMetrics();
    const lines = text.split("\n");
    for (const line of [
      'http_requests_total{route="/v1/models",method="GET",status="200"} 2',
      'http_requests_total{route="none",method="other",status="404"} 1',
      'http_request_duration_seconds_count{route="/v1/models",status="2xx"} 2',
      'http_request_duration_seconds_bucket{route="/v1/models",status="2xx",le="0.025"} 1',
      'llm_rate_limit_exceeded_total{limit="tokens",scope="tenant",window="day"} 1',
      'llm_rate_limit_exceeded_total{limit="concurrent",scope="alias",window="open"} 1',
      'llm_time_to_first_token_seconds_count{route="/v1/chat/completions"} 1',
      "http_open_streams 1",
      "http_open_requests 3",
      "edge_keys 2",
    ]) {
      expect(lines).toContain(line);
    }
    measures.close();
    measures.answered("/v1/models", "GET", 200, 0.02);
    // The SDK keeps what it was told last.
    expect(await telemetry.renderMetrics()).toContain(
      'http_requests_total{route="/v1/models",method="GET",status="200"} 2',
    );
  } finally {
    await telemetry.shutdown();
  }
});
