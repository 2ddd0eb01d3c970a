import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { BatchService, type SettleBatchRequestSchema } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { type Clock, systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import { Pool } from "undici";
import { afterEach, expect, test } from "vitest";
import { createProviderSet } from "../provider-set.ts";
import { createKeys } from "../providers/key-use.ts";
import { silent } from "../testing/pool-under-test.ts";
import { startBatchKeeper } from "./batch-keeper.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

type Settled = MessageInitShape<typeof SettleBatchRequestSchema>;

/** A keeper before a provider that answers as it is told, and metering that gives one batch in every round. */
async function setUp(answer: (request: IncomingMessage, response: ServerResponse) => void, ageMs = 0) {
  const server = createServer(answer);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const dispatcher = new Pool(`http://127.0.0.1:${port}`);
  const rounds: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    after(_, call) {
      rounds.push(call);
      return () => undefined;
    },
  };
  const settled: Settled[] = [];
  const metering = { isAway: false, claims: 0 };
  const door = createLocalDoor([
    hostService(BatchService, {
      claimBatches() {
        metering.claims += 1;
        if (metering.isAway) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
        const createTime = timestampFromMs(Date.now() - ageMs);
        return { batches: [{ provider: "acme", batchId: "batch_1", account: "", createTime }] };
      },
      settleBatch(request) {
        settled.push(request);
        return {};
      },
    }),
  ]);
  const providers = createProviderSet(
    create(ConfigSchema, {
      providers: { acme: { kind: ProviderKind.OPENAI, baseUrl: `http://127.0.0.1:${port}/v1`, apiKey: "sk-acme" } },
    }),
  );
  const keeper = startBatchKeeper({
    service: createClient(BatchService, door),
    providers: () => providers,
    keys: createKeys({ clock, dispatcherOf: () => dispatcher, log: silent }),
    dispatcherOf: () => dispatcher,
    clock,
    log: silent,
  });
  undo.push(
    () => server.close(),
    () => server.closeAllConnections(),
    () => dispatcher.destroy(),
    () => keeper.stop(),
  );
  return {
    keeper,
    settled,
    metering,
    /** When a round is over: then the next one waits for its time. */
    roundOver: () => until(() => rounds.length > 0),
    nextRound: () => rounds.shift()?.(),
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 5_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 2))) {
    if (performance.now() > end) throw new Error("not within 5 s");
  }
}

const json = (response: ServerResponse, status: number, value: unknown) =>
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
const done = { id: "batch_1", status: "completed", model: "m", usage: { input_tokens: 5, output_tokens: 2 } };

test("a provider that fails is asked again in a later round, with its own credential", async () => {
  const credentials: unknown[] = [];
  const { settled, roundOver, nextRound } = await setUp((request, response) => {
    credentials.push(request.headers.authorization);
    json(response, credentials.length === 1 ? 500 : 200, done);
  });
  await roundOver();
  expect(settled).toEqual([]);
  nextRound();
  await until(() => settled.length === 1);
  expect(settled).toMatchObject([
    {
      provider: "acme",
      batchId: "batch_1",
      uses: [{ model: "m", usage: { inputTokens: 5, outputTokens: 2 } }],
    },
  ]);
  expect(credentials).toEqual(["Bearer sk-acme", "Bearer sk-acme"]);
});

test.each([
  ["goes on", 200, { id: "batch_1", status: "in_progress" }],
  ["is answered with what is no batch", 200, []],
  ["may not be asked for", 401, {}],
])("a batch that %s is not settled", async (_name, status, value) => {
  const { settled, roundOver } = await setUp((_request, response) => json(response, status, value));
  await roundOver();
  expect(settled).toEqual([]);
});

test.each([
  ["that its provider has lost", 404, {}, 0],
  ["that nobody could ask for in 30 days", 500, {}, 31 * 86_400_000],
  ["that has not ended in 30 days", 200, { id: "batch_1", status: "in_progress" }, 31 * 86_400_000],
])("what a batch used %s is unknown", async (_name, status, value, ageMs) => {
  const { settled, roundOver } = await setUp((_request, response) => json(response, status, value), ageMs);
  await roundOver();
  expect(settled).toMatchObject([{ outcome: AttemptOutcome.LOST, uses: [{ model: "batches" }] }]);
  expect(settled[0]?.uses?.[0]?.usage?.inputTokens).toBeUndefined();
});

test("an output file that breaks off settles nothing: half of it would be too little", async () => {
  const line = JSON.stringify({
    response: { body: { model: "m", usage: { prompt_tokens: 1, completion_tokens: 1 } } },
  });
  const { settled, roundOver } = await setUp((request, response) => {
    if (request.url?.includes("/batches/") === true) {
      return json(response, 200, { id: "batch_1", status: "completed", output_file_id: "file-1" });
    }
    response.writeHead(200, { "content-length": "100000" });
    return response.write(`${line}\n`, () => response.destroy());
  });
  await roundOver();
  expect(settled).toEqual([]);
});

test("when metering is away it is asked again later", async () => {
  const { settled, metering, roundOver, nextRound } = await setUp((_request, response) => json(response, 200, done));
  await roundOver();
  metering.isAway = true;
  nextRound();
  await roundOver();
  metering.isAway = false;
  nextRound();
  await until(() => settled.length === 2);
  expect(metering.claims).toBe(3);
});

test("stopping hangs up on the provider, and settles nothing any more", async () => {
  let asked = false;
  let hasLeft = false;
  const { keeper, settled, metering } = await setUp((request) => {
    asked = true;
    request.socket.on("close", () => (hasLeft = true));
  });
  await until(() => asked);
  keeper.stop();
  await until(() => hasLeft);
  expect([settled.length, metering.claims]).toEqual([0, 1]);
});
