import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { parseObject } from "@weir/dialect/json";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { BatchService, ClaimedBatch } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Dispatcher } from "undici";
import { judgeStatus } from "../classify.ts";
import { joinHeaders } from "../join-headers.ts";
import type { ProviderSet, ProviderSettings } from "../provider-set.ts";
import type { Keys } from "../providers/key-use.ts";
import { BatchOutput, type ModelUsage, readBatch, unnamedModel } from "./batch-usage.ts";

export interface BatchKeeperDeps {
  readonly service: Pick<Client<typeof BatchService>, "claimBatches" | "settleBatch">;
  readonly providers: () => ProviderSet;
  readonly keys: Pick<Keys, "useAccount">;
  readonly dispatcherOf: (origin: string) => Dispatcher;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is known of a batch once it has ended. */
interface Settlement {
  readonly outcome: AttemptOutcome;
  readonly endTime?: Timestamp;
  readonly uses: readonly ModelUsage[];
}

/** How often metering is asked for batches that are due. */
const roundMs = 15_000;
/** Batches that are looked at together. */
const atOnce = 8;
const timeoutMs = 30_000;
/** For the output file of a batch: up to 50,000 answers. */
const fileTimeoutMs = 600_000;
const batchBytesMax = 4 * 1024 * 1024;
const fileBytesMax = 4 * 1024 * 1024 * 1024;
/** After so long without word of its end what a batch used is put down as unknown, and holds no money any more. Batches end within a day. */
const lostAfterMs = 30 * 86_400_000;

/**
 * Asks providers how batches stand whose usage is not in the ledger, from now until it is stopped, and settles those that have
 * ended. Holds nothing that cannot be lost: metering knows what is due, and gives it again.
 */
export function startBatchKeeper(deps: BatchKeeperDeps): { stop(): void } {
  const { service, clock, log } = deps;
  const stopping = new AbortController();
  let cancelTimer = () => {};
  void rounds();

  async function rounds(): Promise<void> {
    while (!stopping.signal.aborted) {
      const count = await round().catch((error: unknown) => {
        if (!stopping.signal.aborted) log.debug({ error }, "batches could not be looked at; trying again later");
        return 0;
      });
      if (count < atOnce) await pause();
    }
  }

  /** @returns how many batches were due */
  async function round(): Promise<number> {
    const { batches } = await service.claimBatches({ countMax: atOnce }, { timeoutMs, signal: stopping.signal });
    await Promise.all(
      batches.map((batch) =>
        settle(batch).catch((error: unknown) => {
          if (stopping.signal.aborted) return;
          const { provider, batchId } = batch;
          log.debug({ provider, batchId, error }, "a batch could not be looked at; it comes again");
        }),
      ),
    );
    return batches.length;
  }

  async function settle(batch: ClaimedBatch): Promise<void> {
    const looked = await look(batch).catch((thrown: unknown) => {
      if (stopping.signal.aborted || !isLost(batch)) throw thrown;
      return undefined;
    });
    const found = looked ?? (isLost(batch) ? lost : undefined);
    if (found === undefined) return;
    const { outcome, endTime, uses } = found;
    const { provider, batchId } = batch;
    await service.settleBatch(
      { provider, batchId, outcome, ...(endTime === undefined ? {} : { endTime }), uses: [...uses] },
      { timeoutMs, signal: stopping.signal },
    );
    log.info({ provider, batchId, models: uses.length }, "what a batch used is in the ledger");
  }

  function isLost({ createTime }: ClaimedBatch): boolean {
    return createTime !== undefined && clock.now() - timestampMs(createTime) > lostAfterMs;
  }

  /** @returns undefined: it goes on */
  async function look({ provider: id, batchId, account }: ClaimedBatch): Promise<Settlement | undefined> {
    const provider = deps.providers().get(id);
    if (provider === undefined) throw new Error("its provider is not configured");
    const body = await read(provider, account, `/batches/${encodeURIComponent(batchId)}`, timeoutMs);
    if (body === "gone") return lost;
    const json = parseObject((await whole(body)).toString());
    const ended = json && readBatch(json);
    if (ended === undefined) return undefined;
    const { outcome, reported, outputFileId, isEmpty } = ended;
    const end = ended.endTime === undefined ? {} : { endTime: timestampFromMs(ended.endTime * 1_000) };
    if (isEmpty) return { outcome, ...end, uses: [] };
    if (reported !== undefined) return { outcome, ...end, uses: [reported] };
    const counted = outputFileId === undefined ? undefined : await count(provider, account, outputFileId);
    return { outcome, ...end, uses: counted === undefined || counted.length === 0 ? unknown : counted };
  }

  /** Adds up what an output file reports. @returns undefined: it is gone, or cannot be read */
  async function count(provider: ProviderSettings, account: string, fileId: string): Promise<ModelUsage[] | undefined> {
    const path = `/files/${encodeURIComponent(fileId)}/content`;
    const body = await read(provider, account, path, fileTimeoutMs);
    if (body === "gone") return undefined;
    const output = new BatchOutput();
    let bytes = 0;
    for await (const part of body) {
      bytes += part.length;
      if (bytes > fileBytesMax) return undefined;
      output.push(part);
    }
    return output.end();
  }

  async function read(
    provider: ProviderSettings,
    account: string,
    path: string,
    limitMs: number,
  ): Promise<AsyncIterable<Buffer> | "gone"> {
    const full = provider.passthroughPath?.(path, "", unnamedModel);
    if (full === undefined) throw new Error("its provider has no batches any more");
    const key = deps.keys.useAccount(provider, account);
    const { statusCode, headers, body } = await deps.dispatcherOf(provider.origin).request({
      method: "GET",
      path: full,
      headers: joinHeaders(provider.headers, ["accept", "*/*", ...key.headers]),
      signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(limitMs)]),
    });
    if (statusCode === 200) {
      key.accepted();
      return body;
    }
    await body.dump();
    if (statusCode === 404) return "gone";
    const failure = judgeStatus(provider.id, statusCode, headers, undefined, deps.clock.now());
    throw failure === undefined ? new Error(`the provider answered ${statusCode}`) : key.failed(failure);
  }

  function pause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = clock.after(roundMs, resolve);
      cancelTimer = () => {
        cancel();
        resolve();
      };
    });
  }

  return {
    stop() {
      stopping.abort();
      cancelTimer();
    },
  };
}

/** Somebody used something, and nobody can tell how much. */
const unknown: readonly ModelUsage[] = [{ model: unnamedModel, usage: create(UsageSchema) }];
const lost: Settlement = { outcome: AttemptOutcome.LOST, uses: unknown };

async function whole(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > batchBytesMax) throw new Error("the batch is longer than one may be");
    parts.push(part);
  }
  return Buffer.concat(parts);
}
