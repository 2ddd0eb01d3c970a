import {
  bigint,
  boolean,
  customType,
  date,
  integer,
  interval,
  jsonb,
  numeric,
  pgEnum,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from "./drizzle.ts";

// The tables as queries see them; migrations/ makes them, and schema.test.ts compares the two.

const bytea = customType<{ data: Buffer }>({ dataType: () => "bytea" });
const instant = (name: string) => timestamp(name, { withTimezone: true });
/** int8: comes as text from the driver and never passes through a float. */
const int8 = (name: string) => bigint(name, { mode: "bigint" });

export const tenants = pgTable("tenants", {
  tenantId: text("tenant_id").primaryKey(),
  displayName: text("display_name").notNull(),
  createTime: instant("create_time").notNull().defaultNow(),
  limits: jsonb("limits"),
  disabled: boolean("disabled").notNull().default(false),
  revision: int8("revision").notNull().default(0n),
});

const roleWords = ["member", "analyst", "auditor", "admin", "owner"] as const;

export const teams = pgTable("teams", {
  teamId: text("team_id").primaryKey(),
  tenantId: text("tenant_id").notNull(),
  displayName: text("display_name").notNull(),
  limits: jsonb("limits"),
  disabled: boolean("disabled").notNull().default(false),
  createTime: instant("create_time").notNull().defaultNow(),
  deleteTime: instant("delete_time"),
  revision: int8("revision").notNull(),
});

export const users = pgTable("users", {
  userId: text("user_id").primaryKey(),
  tenantId: text("tenant_id").notNull(),
  displayName: text("display_name").notNull(),
  email: text("email").notNull(),
  role: text("role", { enum: roleWords }).notNull(),
  teamId: text("team_id"),
  limits: jsonb("limits"),
  disabled: boolean("disabled").notNull().default(false),
  createTime: instant("create_time").notNull().defaultNow(),
  deleteTime: instant("delete_time"),
  revision: int8("revision").notNull(),
});

export const keys = pgTable("keys", {
  keyId: text("key_id").primaryKey(),
  tenantId: text("tenant_id")
    .notNull()
    .references(() => tenants.tenantId),
  digest: bytea("digest").notNull().unique(),
  displayName: text("display_name").notNull(),
  scope: jsonb("scope").notNull(),
  createTime: instant("create_time").notNull().defaultNow(),
  expireTime: instant("expire_time"),
  revokeTime: instant("revoke_time"),
  revision: int8("revision").notNull().unique(),
  role: text("role", { enum: roleWords }).notNull().default("member"),
  everyTenant: boolean("every_tenant").notNull().default(false),
  teamId: text("team_id"),
  userId: text("user_id"),
  successorId: text("successor_id"),
});

export const auditRecords = pgTable("audit_records", {
  auditRecordId: uuid("audit_record_id").primaryKey(),
  time: instant("time").notNull(),
  tenantId: text("tenant_id"),
  actorKind: text("actor_kind", { enum: ["caller", "operator", "unknown"] }).notNull(),
  actorKey: text("actor_key").notNull(),
  actorUser: text("actor_user").notNull(),
  actorRole: text("actor_role", { enum: ["", ...roleWords] }).notNull(),
  actorTenant: text("actor_tenant").notNull(),
  action: text("action").notNull(),
  resource: text("resource").notNull(),
  requestId: text("request_id").notNull(),
  changes: jsonb("changes").notNull().default([]),
  refusalReason: text("refusal_reason"),
  refusalDetail: text("refusal_detail"),
  refusalCount: int8("refusal_count"),
  refusalLastTime: instant("refusal_last_time"),
  refusalAddress: text("refusal_address"),
  recordTime: instant("record_time").notNull().defaultNow(),
});

export const accountRevision = pgTable("account_revision", {
  singleton: boolean("singleton").primaryKey().default(true),
  revision: int8("revision").notNull(),
});

export const prices = pgTable("prices", {
  priceId: text("price_id").primaryKey(),
  provider: text("provider").notNull(),
  model: text("model").notNull(),
  effectiveTime: instant("effective_time"),
  inputNanoUsdPerMillion: numeric("input_nano_usd_per_million").notNull(),
  cachedInputNanoUsdPerMillion: numeric("cached_input_nano_usd_per_million").notNull(),
  cacheWriteNanoUsdPerMillion: numeric("cache_write_nano_usd_per_million").notNull(),
  cacheWriteLongNanoUsdPerMillion: numeric("cache_write_long_nano_usd_per_million").notNull(),
  outputNanoUsdPerMillion: numeric("output_nano_usd_per_million").notNull(),
  longContext: jsonb("long_context"),
  source: text("source").notNull(),
  createTime: instant("create_time").notNull().defaultNow(),
  otherRates: jsonb("other_rates"),
  tiers: jsonb("tiers"),
});

export const attempts = pgTable("attempts", {
  attemptId: uuid("attempt_id").primaryKey(),
  requestId: text("request_id").notNull(),
  tenant: text("tenant").notNull(),
  key: text("key").notNull(),
  endUser: text("end_user").notNull(),
  alias: text("alias").notNull(),
  provider: text("provider").notNull(),
  model: text("model").notNull(),
  stream: boolean("stream").notNull(),
  outcome: text("outcome").notNull(),
  usageSource: text("usage_source").notNull(),
  inputTokens: int8("input_tokens"),
  cachedInputTokens: int8("cached_input_tokens"),
  cacheWriteTokens: int8("cache_write_tokens"),
  cacheWriteLongTokens: int8("cache_write_long_tokens"),
  audioInputTokens: int8("audio_input_tokens"),
  imageInputTokens: int8("image_input_tokens"),
  outputTokens: int8("output_tokens"),
  reasoningTokens: int8("reasoning_tokens"),
  audioOutputTokens: int8("audio_output_tokens"),
  imageOutputTokens: int8("image_output_tokens"),
  acceptedPredictionTokens: int8("accepted_prediction_tokens"),
  rejectedPredictionTokens: int8("rejected_prediction_tokens"),
  serverToolUses: jsonb("server_tool_uses"),
  usageInconsistent: boolean("usage_inconsistent").notNull(),
  priceId: text("price_id").notNull(),
  pricing: text("pricing").notNull(),
  costNanoUsd: int8("cost_nano_usd"),
  chargeNanoUsd: int8("charge_nano_usd"),
  startTime: instant("start_time").notNull(),
  endTime: instant("end_time").notNull(),
  firstTokenUs: int8("first_token_us"),
  providerStatus: integer("provider_status").notNull(),
  providerReplyId: text("provider_reply_id").notNull(),
  contentDigest: bytea("content_digest").notNull(),
  recordTime: instant("record_time").notNull().defaultNow(),
  tags: jsonb("tags"),
  serviceTier: text("service_tier"),
  chargeMaxNanoUsd: int8("charge_max_nano_usd"),
});

const book = pgEnum("book", ["cost", "charge"]);

export const transfers = pgTable(
  "transfers",
  {
    attemptId: uuid("attempt_id").notNull(),
    book: book("book").notNull(),
    debitAccount: text("debit_account").notNull(),
    creditAccount: text("credit_account").notNull(),
    amountNanoUsd: int8("amount_nano_usd").notNull(),
  },
  (table) => [primaryKey({ columns: [table.attemptId, table.book] })],
);

export const priceLists = pgTable("price_lists", {
  listNumber: int8("list_number").primaryKey(),
  toldTime: instant("told_time").notNull(),
  priceIds: jsonb("price_ids").notNull(),
});

export const adjustmentRuns = pgTable("adjustment_runs", {
  runId: text("run_id").primaryKey(),
  reason: text("reason").notNull(),
  question: jsonb("question").notNull(),
  createTime: instant("create_time").notNull().defaultNow(),
});

export const adjustments = pgTable(
  "adjustments",
  {
    attemptId: uuid("attempt_id").notNull(),
    number: integer("number").notNull(),
    runId: text("run_id").notNull(),
    tenant: text("tenant").notNull(),
    priceId: text("price_id").notNull(),
    pricing: text("pricing").notNull(),
    costNanoUsd: int8("cost_nano_usd").notNull(),
    chargeNanoUsd: int8("charge_nano_usd").notNull(),
    inputTokens: int8("input_tokens").notNull(),
    cachedInputTokens: int8("cached_input_tokens").notNull(),
    cacheWriteTokens: int8("cache_write_tokens").notNull(),
    cacheWriteLongTokens: int8("cache_write_long_tokens").notNull(),
    outputTokens: int8("output_tokens").notNull(),
    reasoningTokens: int8("reasoning_tokens").notNull(),
  },
  (table) => [primaryKey({ columns: [table.attemptId, table.number] })],
);

export const adjustmentTransfers = pgTable(
  "adjustment_transfers",
  {
    attemptId: uuid("attempt_id").notNull(),
    number: integer("number").notNull(),
    book: book("book").notNull(),
    debitAccount: text("debit_account").notNull(),
    creditAccount: text("credit_account").notNull(),
    amountNanoUsd: int8("amount_nano_usd").notNull(),
  },
  (table) => [primaryKey({ columns: [table.attemptId, table.number, table.book] })],
);

export const attemptStandings = pgTable("attempt_standings", {
  attemptId: uuid("attempt_id").primaryKey(),
  tenant: text("tenant").notNull(),
  number: integer("number").notNull(),
  truedUp: boolean("trued_up").notNull(),
  priceId: text("price_id").notNull(),
  pricing: text("pricing").notNull(),
  costNanoUsd: int8("cost_nano_usd"),
  chargeNanoUsd: int8("charge_nano_usd"),
  inputTokens: int8("input_tokens"),
  cachedInputTokens: int8("cached_input_tokens"),
  cacheWriteTokens: int8("cache_write_tokens"),
  cacheWriteLongTokens: int8("cache_write_long_tokens"),
  outputTokens: int8("output_tokens"),
  reasoningTokens: int8("reasoning_tokens"),
});

const wide = (name: string) => numeric(name, { precision: 30 }).notNull();

export const retiredCosts = pgTable(
  "retired_costs",
  {
    day: date("day").notNull(),
    tenant: text("tenant").notNull(),
    key: text("key").notNull(),
    alias: text("alias").notNull(),
    provider: text("provider").notNull(),
    model: text("model").notNull(),
    attempts: int8("attempts").notNull(),
    requests: int8("requests").notNull(),
    inputTokens: wide("input_tokens"),
    cachedInputTokens: wide("cached_input_tokens"),
    outputTokens: wide("output_tokens"),
    reasoningTokens: wide("reasoning_tokens"),
    costNanoUsd: wide("cost_nano_usd"),
    chargeNanoUsd: wide("charge_nano_usd"),
    estimatedAttempts: int8("estimated_attempts").notNull(),
    unpricedAttempts: int8("unpriced_attempts").notNull(),
  },
  (table) => [primaryKey({ columns: [table.day, table.tenant, table.key, table.alias, table.provider, table.model] })],
);

export const retiredTransfers = pgTable(
  "retired_transfers",
  {
    book: book("book").notNull(),
    debitAccount: text("debit_account").notNull(),
    creditAccount: text("credit_account").notNull(),
    amountNanoUsd: wide("amount_nano_usd"),
  },
  (table) => [primaryKey({ columns: [table.book, table.debitAccount, table.creditAccount] })],
);

export const responses = pgTable(
  "responses",
  {
    tenant: text("tenant").notNull(),
    responseId: text("response_id").notNull(),
    previousResponseId: text("previous_response_id"),
    key: text("key").notNull(),
    background: boolean("background").notNull(),
    state: text("state", { enum: ["in_progress", "completed", "incomplete", "failed", "cancelled"] }).notNull(),
    input: bytea("input").notNull(),
    response: bytea("response").notNull(),
    outputStart: integer("output_start"),
    outputEnd: integer("output_end"),
    leaseId: uuid("lease_id").unique(),
    leaseExpireTime: instant("lease_expire_time"),
    createTime: instant("create_time").notNull().defaultNow(),
    expireTime: instant("expire_time").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.responseId] })],
);

/** Where output items of stored responses stand. */
export const responseItems = pgTable(
  "response_items",
  {
    tenant: text("tenant").notNull(),
    itemId: text("item_id").notNull(),
    responseId: text("response_id").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.itemId, table.responseId] })],
);

/** What the lines of a batch's input ask for; what came later is missing in older rows. */
export interface BatchInputColumn {
  readonly models: readonly {
    readonly model: string;
    readonly line: number;
    readonly bound?: {
      readonly inputTokens: number;
      readonly outputTokens: number;
      readonly openChoices: number;
      readonly openLine: number;
    };
  }[];
  readonly collections: readonly string[];
  readonly endpoint?: string;
}

/** What is set aside for a batch; amounts and ids of leases in decimal. */
export interface BatchHoldColumn {
  readonly parts: readonly {
    readonly model: string;
    readonly leaseIds: readonly string[];
    readonly chargeMaxNanoUsd: string;
  }[];
}

export const resources = pgTable(
  "resources",
  {
    provider: text("provider").notNull(),
    resourceId: text("resource_id").notNull(),
    resourceNumber: int8("resource_number").notNull().generatedAlwaysAsIdentity(),
    tenant: text("tenant").notNull(),
    key: text("key").notNull(),
    kind: text("kind").notNull(),
    account: text("account").notNull(),
    alias: text("alias").notNull(),
    createTime: instant("create_time").notNull().defaultNow(),
    endUser: text("end_user").notNull().default(""),
    tags: jsonb("tags").$type<Record<string, string>>(),
    lookTime: instant("look_time").notNull().defaultNow(),
    settleTime: instant("settle_time"),
    batchInput: jsonb("batch_input").$type<BatchInputColumn>(),
    hold: jsonb("hold").$type<BatchHoldColumn>(),
  },
  (table) => [primaryKey({ columns: [table.provider, table.resourceId] })],
);

export const conflicts = pgTable("conflicts", {
  conflictId: bytea("conflict_id").primaryKey(),
  attemptId: text("attempt_id").notNull(),
  reason: text("reason").notNull(),
  journalId: text("journal_id").notNull(),
  sequence: numeric("sequence").notNull(),
  payload: bytea("payload").notNull(),
  receiveTime: instant("receive_time").notNull().defaultNow(),
});

export const journals = pgTable("journals", {
  journalId: uuid("journal_id").primaryKey(),
  committedSequence: int8("committed_sequence").notNull(),
  updateTime: instant("update_time").notNull().defaultNow(),
});

export const budgets = pgTable("budgets", {
  budgetKey: int8("budget_key").primaryKey(),
  budgetId: text("budget_id").notNull(),
  displayName: text("display_name").notNull(),
  scope: jsonb("scope").notNull(),
  limitNanoUsd: int8("limit_nano_usd").notNull(),
  windowKind: text("window_kind", { enum: ["total", "hour", "day", "week", "month", "rolling"] }).notNull(),
  spanSeconds: int8("span_seconds"),
  softPercents: jsonb("soft_percents").notNull(),
  disabled: boolean("disabled").notNull().default(false),
  createTime: instant("create_time").notNull().defaultNow(),
  deleteTime: instant("delete_time"),
  revision: int8("revision").notNull().unique(),
});

export const budgetRevision = pgTable("budget_revision", {
  singleton: boolean("singleton").primaryKey().default(true),
  revision: int8("revision").notNull(),
});

export const budgetWindows = pgTable("budget_windows", {
  windowId: int8("window_id").primaryKey(),
  budgetKey: int8("budget_key").notNull(),
  subject: text("subject").notNull(),
  startTime: instant("start_time").notNull(),
  spentNanoUsd: int8("spent_nano_usd").notNull(),
  leasedNanoUsd: int8("leased_nano_usd").notNull(),
  softPercent: integer("soft_percent").notNull(),
  tightTime: instant("tight_time"),
});

export const budgetBuckets = pgTable(
  "budget_buckets",
  {
    windowId: int8("window_id").notNull(),
    bucketTime: instant("bucket_time").notNull(),
    spentNanoUsd: int8("spent_nano_usd").notNull(),
  },
  (table) => [primaryKey({ columns: [table.windowId, table.bucketTime] })],
);

export const budgetLeases = pgTable("budget_leases", {
  leaseId: int8("lease_id").primaryKey(),
  windowId: int8("window_id").notNull(),
  holder: uuid("holder").notNull(),
  outstandingNanoUsd: int8("outstanding_nano_usd").notNull(),
  grantedTotalNanoUsd: int8("granted_total_nano_usd").notNull(),
  returnedTotalNanoUsd: int8("returned_total_nano_usd").notNull(),
  expireTime: instant("expire_time").notNull(),
  keep: interval("keep").notNull(),
  kept: boolean("kept").notNull().default(false),
  ended: boolean("ended").notNull(),
  overdrawn: boolean("overdrawn").notNull().default(false),
  lostNanoUsd: int8("lost_nano_usd").notNull().default(0n),
  endTime: instant("end_time"),
});

export const idempotencyKeys = pgTable(
  "idempotency_keys",
  {
    tenant: text("tenant").notNull(),
    keyId: bytea("key_id").notNull(),
    requestDigest: bytea("request_digest").notNull(),
    claimId: uuid("claim_id").notNull(),
    leaseExpireTime: instant("lease_expire_time").notNull(),
    outcome: bytea("outcome"),
    createTime: instant("create_time").notNull().defaultNow(),
    expireTime: instant("expire_time").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.keyId] })],
);

export const requestRecords = pgTable("request_records", {
  requestId: text("request_id").notNull(),
  tenant: text("tenant").notNull(),
  key: text("key").notNull(),
  method: text("method").notNull(),
  route: text("route").notNull(),
  status: integer("status").notNull(),
  complete: boolean("complete").notNull(),
  reason: text("reason").notNull(),
  startTime: instant("start_time").notNull(),
  durationUs: int8("duration_us").notNull(),
  firstContentUs: int8("first_content_us"),
});
