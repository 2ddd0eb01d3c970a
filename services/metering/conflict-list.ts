import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Conflict, ConflictSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Database } from "./database.ts";

/** Usage events that are kept aside. Failures are WeirError STORE_UNAVAILABLE. */
export interface ConflictList {
  /** The newest first. @param countMax at least 1 */
  read(countMax: number): Promise<readonly Conflict[]>;
  /** How many there are, counted up to a thousand. */
  count(): Promise<number>;
}

export function createConflictList(database: Database): ConflictList {
  return {
    read: (countMax) =>
      database.transaction(async (client) => {
        const { rows } = await client.query<ConflictRow>(
          `select c.attempt_id, reason, journal_id, sequence, octet_length(payload) as payload_bytes, receive_time,
             a.attempt_id is not null as stands
           from (select * from conflicts order by receive_time desc, conflict_id limit $1) c
           left join attempts a on a.attempt_id =
             case when c.attempt_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then c.attempt_id::uuid end
           order by receive_time desc, conflict_id`,
          [countMax],
        );
        return rows.map((row) =>
          create(ConflictSchema, {
            attemptId: row.attempt_id,
            reason: row.reason,
            journalId: row.journal_id,
            sequence: BigInt(row.sequence),
            payloadBytes: row.payload_bytes,
            receiveTime: timestampFromMs(row.receive_time.getTime()),
            standsInLedger: row.stands,
          }),
        );
      }),
    count: () =>
      database.transaction(async (client) => {
        const { rows } = await client.query<{ count: number }>(
          "select count(*)::int as count from (select from conflicts limit 1000) as kept",
        );
        return rows[0]?.count ?? 0;
      }),
  };
}

/** numeric comes as text. */
interface ConflictRow {
  readonly attempt_id: string;
  readonly reason: string;
  readonly journal_id: string;
  readonly sequence: string;
  readonly payload_bytes: number;
  readonly receive_time: Date;
  readonly stands: boolean;
}
