import { systemClock } from "@weir/kit/clock";
import { expect, test } from "vitest";
import { createAlarms } from "../alarms.ts";
import { createHttpServer } from "./server.ts";

test("an answer that cannot be written once its keeper is done fails by itself, and ends no process", async () => {
  const alarms = createAlarms(systemClock);
  const server = createHttpServer({
    clock: systemClock,
    alarms,
    newRequestId: () => "req_1",
    writeStallMs: () => 5_000,
    connectionsPerSourceMax: () => 10,
    handler: {
      handle(exchange) {
        exchange.keeper = {
          answered: async () => [],
          began: () => undefined,
          wrote: () => undefined,
          ended: async () => undefined,
          broke: () => undefined,
        };
        exchange.answer(200, ["x-from-elsewhere", "a\r\nb: c"], "{}");
      },
      appendHeaders: () => undefined,
      closed: () => undefined,
      refused: () => undefined,
    },
  });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    expect(answer.status).toBe(500);
    expect(answer.headers.get("b")).toBeNull();
  } finally {
    await server.close();
    alarms.close();
  }
});
