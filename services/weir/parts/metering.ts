import type { DependencyHealth } from "@weir/edge/service";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { startUsageConsumer } from "@weir/metering/consumer";
import { type Database, openDatabase } from "@weir/metering/database";
import { createMetering } from "@weir/metering/service";
import { type NatsLink, startNats } from "../nats.ts";
import { pause } from "../pause.ts";
import type { Part, Root } from "./part.ts";

/** A database server that is away at start is waited for, with growing pauses up to this. */
const pauseMsMax = 5_000;
/** An embedded database that another process holds may be that of one that is just ending. */
const handoverMs = 15_000;
const probeIntervalMs = 5_000;

/** Serves accounts and usage on Postgres, or on the embedded database of the data folder. */
export async function startMetering(root: Root): Promise<Part> {
  const { settings, configuration, mesh, telemetry, log, clock } = root;
  const database = await open(root);
  try {
    const metering = createMetering({ database, pepper: root.pepper(), clock, meter: telemetry.meter, log });
    await prepareWhenReady(root, () => metering.prepare(configuration.current().prices));
    configuration.onChange(async (next) => {
      await metering.prepare(next.prices);
      return () => {};
    });
    mesh.host("metering", AccountService, metering.accounts);
    mesh.host("metering", TeamService, metering.teams);
    mesh.host("metering", UserService, metering.users);
    mesh.host("metering", AuditService, metering.audit);
    mesh.host("metering", BudgetService, metering.budgets);
    mesh.host("metering", UsageService, metering.usage);
    mesh.host("metering", RequestService, metering.requests);
    mesh.host("metering", LedgerService, metering.ledger);
    mesh.host("metering", ConversationService, metering.conversations);
    mesh.host("metering", ResourceService, metering.resources);
    mesh.host("metering", BatchService, metering.batches);
    mesh.host("metering", IdempotencyService, metering.idempotency);
    root.stopping.addEventListener("abort", () => metering.endWatches());
    const sweeper = metering.startSweeper();
    const months = metering.startMonthKeeper(() => configuration.current().config.ledger?.keptMonths);
    const budgetSweeper = metering.startBudgetSweeper();
    const auditSweeper = metering.startAuditSweeper();
    const requestSweeper = metering.startRequestSweeper();

    let isUp = true;
    let conflictCount = 0;
    let cancelProbe = () => {};
    const probe = (): void => {
      cancelProbe = clock.after(probeIntervalMs, () => {
        metering.conflicts
          .count()
          .then(
            (count) => {
              isUp = true;
              conflictCount = count;
            },
            () => (isUp = false),
          )
          .finally(() => {
            if (!root.stopping.aborted) probe();
          })
          .catch((error: unknown) => log.error({ error }, "watching the database failed"));
      });
    };
    probe();
    const nats: NatsLink | undefined =
      settings.natsUrl === undefined
        ? undefined
        : startNats({
            url: settings.natsUrl,
            name: "weir-metering",
            clock,
            log,
            onConnected(connection) {
              const { recorder, store } = metering;
              const consumer = startUsageConsumer({ connection, recorder, store, clock, log });
              return () => consumer.stop();
            },
          });
    const databaseHealth = (): DependencyHealth => ({
      name: "database",
      status: isUp ? "up" : "down",
      detail:
        conflictCount === 0
          ? database.engine
          : `${database.engine}; usage events are kept aside and need a look: ${conflictCount >= 1_000 ? "1000 or more" : conflictCount}, see \`weir ledger conflicts\``,
    });
    return {
      health: () => [databaseHealth(), ...(nats === undefined ? [] : [nats.health()])],
      async stop(timeoutMs) {
        cancelProbe();
        sweeper.stop();
        months.stop();
        budgetSweeper.stop();
        auditSweeper.stop();
        requestSweeper.stop();
        await metering.endRefusals();
        await nats?.close(timeoutMs);
        await database.close();
      },
    };
  } catch (error) {
    await database.close();
    throw error;
  }
}

async function open({ settings, folder, log, clock, stopping }: Root): Promise<Database> {
  if (settings.databaseUrl !== undefined) return openDatabase({ url: settings.databaseUrl });
  const embeddedDirectory = folder().database;
  const startMs = clock.monotonic();
  for (;;) {
    try {
      return await openDatabase({ embeddedDirectory });
    } catch (error) {
      const held = error instanceof Error && error.message.includes("is in use by process");
      if (!held || stopping.aborted || clock.monotonic() - startMs > handoverMs) throw error;
      log.info({}, "another process still holds the embedded database; waiting for it to end");
      await pause(500, clock, stopping);
    }
  }
}

async function prepareWhenReady({ log, clock, stopping }: Root, prepare: () => Promise<void>): Promise<void> {
  for (let pauseMs = 250; ; pauseMs = Math.min(pauseMs * 2, pauseMsMax)) {
    try {
      await prepare();
      return;
    } catch (error) {
      const away = error instanceof WeirError && error.reason === ErrorReason.STORE_UNAVAILABLE;
      if (!away || stopping.aborted) throw error;
      log.warn({ error, pause_ms: pauseMs }, "the database does not answer; trying again");
      await pause(pauseMs, clock, stopping);
    }
  }
}
