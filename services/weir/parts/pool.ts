import { randomUUID } from "node:crypto";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { DependencyHealth } from "@weir/edge/service";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { createBudgets } from "@weir/pool/budgets/budgets";
import { createDrain, type Drain, type Sink } from "@weir/pool/journal/drain";
import { type Journal, openJournal } from "@weir/pool/journal/journal";
import { createDirectSink } from "@weir/pool/journal/sink-direct";
import { createJetStreamSink } from "@weir/pool/journal/sink-jetstream";
import { createProviderSet, type ProviderSet } from "@weir/pool/provider-set";
import { loadPlugins } from "@weir/pool/providers/plugin-load";
import { createPool } from "@weir/pool/service";
import { createAttemptIds } from "../attempt-id.ts";
import { readConfig, type Snapshot } from "../configuration.ts";
import { type NatsLink, startNats } from "../nats.ts";
import { createLocalModels, type LocalModels } from "./local-models.ts";
import type { Part, Root } from "./part.ts";

/** Serves attempts, keeps their journal in the data folder, and carries it to the ledger: over NATS, or straight. */
export async function startPool(root: Root): Promise<Part> {
  const { settings, configuration, mesh, telemetry, log, clock } = root;
  const { journal: chosen } = configuration.current().config;
  const journal = await openJournal({
    directory: root.folder().journal,
    syncIntervalMs: chosen?.syncInterval === undefined ? undefined : durationMs(chosen.syncInterval),
    bytesMax: chosen?.bytesMax === undefined ? undefined : Number(chosen.bytesMax),
    clock,
    log,
  });
  const localModels = createLocalModels({ clock, log });
  try {
    const first = await loadProviders(configuration.current(), localModels);
    let { providers } = first;
    first.commit();
    configuration.onChange(async (next) => {
      const loaded = await loadProviders(next, localModels);
      return () => {
        providers = loaded.providers;
        loaded.commit();
      };
    });
    const budgets = createBudgets({
      service: mesh.client(BudgetService, "metering"),
      holder: randomUUID(),
      keepMs: () => longestAttemptMs(configuration.current().config) + settlingMs,
      clock,
      random: Math.random,
      meter: telemetry.meter,
      log,
    });
    const pool = createPool({
      providers: () => providers,
      prices: () => configuration.current().prices,
      journal,
      budgets,
      limitStore: root.sharedLimits?.store,
      clock,
      newAttemptId: createAttemptIds(),
      meter: telemetry.meter,
      tracer: telemetry.tracer,
      log,
    });
    const batches = mesh.client(BatchService, "metering");
    mesh.host("pool", AttemptService, pool.service, { trustsMesh: true });
    mesh.host("pool", ForwardAttemptService, pool.forwarding, { trustsMesh: true });

    const drain = (sink: Sink) =>
      createDrain({ journal, sink, clock, random: Math.random, meter: telemetry.meter, log });
    const carriage =
      settings.natsUrl === undefined ? straight(root, drain) : overNats(root, settings.natsUrl, journal.id, drain);
    return {
      health: () => [journalHealth(journal), ...carriage.health()],
      begin() {
        budgets.begin();
        carriage.begin();
        pool.keepBatches(batches);
      },
      async stop(timeoutMs) {
        await pool.close();
        await budgets.close();
        await localModels.close();
        await carriage.stop(timeoutMs);
        await journal.close();
      },
    };
  } catch (error) {
    await localModels.close();
    await journal.close();
    throw error;
  }
}

interface LoadedProviders {
  readonly providers: ProviderSet;
  /** Puts local models into force. */
  commit(): void;
}

/** From the end of an attempt until the ledger has it: answers that are read on for two minutes, and three for the way. */
const settlingMs = 300_000;
const attemptMsDefault = 600_000;

/** The longest that any attempt may take, by the timeouts of the configuration. */
function longestAttemptMs({ router, aliases }: Snapshot["config"]): number {
  const totals = [router?.timeouts, ...Object.values(aliases).map(({ timeouts }) => timeouts)];
  return Math.max(
    ...totals.map((timeouts) => (timeouts?.total === undefined ? 0 : durationMs(timeouts.total))),
    attemptMsDefault,
  );
}

/** @throws ConfigError, also for a module or a model file that cannot be used */
async function loadProviders({ config }: Snapshot, localModels: LocalModels): Promise<LoadedProviders> {
  const plugins = await loadPlugins(config);
  const local = await localModels.prepare(config);
  return { providers: readConfig(() => createProviderSet(local.config, plugins)), commit: () => local.commit() };
}

interface Carriage {
  begin(): void;
  health(): readonly DependencyHealth[];
  stop(timeoutMs: number): Promise<void>;
}

type StartDrain = (sink: Sink) => Drain;

function straight({ mesh }: Root, start: StartDrain): Carriage {
  const sink = createDirectSink(mesh.client(UsageService, "metering"));
  let drain: Drain | undefined;
  return {
    begin() {
      drain = start(sink);
    },
    health: () => [],
    stop: async (timeoutMs) => drain?.stop(timeoutMs),
  };
}

function overNats({ clock, log }: Root, url: string, journalId: string, start: StartDrain): Carriage {
  let nats: NatsLink | undefined;
  const connect = () =>
    startNats({
      url,
      name: "weir-pool",
      clock,
      log,
      onConnected(connection) {
        const sink = createJetStreamSink(connection, journalId);
        const drain = start(sink);
        return async (timeoutMs) => {
          await drain.stop(timeoutMs);
          sink.close();
        };
      },
    });
  return {
    begin() {
      nats = connect();
    },
    health: () => (nats === undefined ? [] : [nats.health()]),
    stop: async (timeoutMs) => nats?.close(timeoutMs),
  };
}

function journalHealth(journal: Journal): DependencyHealth {
  const status = journal.status();
  const waiting = status.lastSequence - status.committedSequence;
  const detail = `${waiting} usage events wait for the ledger`;
  return status.writable === true
    ? { name: "journal", status: "up", detail }
    : { name: "journal", status: "down", detail: status.writable };
}
