import type { RequestRecord } from "@weir/gen/weir/metering/v1/request_service_pb";
import { type ArrayColumn, arrayParameters, unnested } from "../arrays.ts";
import type { Database } from "../database.ts";

/** What clients met with. Failures are WeirError STORE_UNAVAILABLE. */
export interface RequestStore {
  /** Idempotent: a request that has a record keeps it. */
  add(records: readonly RequestRecord[]): Promise<void>;
}

const columns: readonly ArrayColumn<RequestRecord>[] = [
  { name: "request_id", type: "text", value: ({ requestId }) => requestId },
  { name: "tenant", type: "text", value: ({ tenant }) => tenant },
  { name: "key", type: "text", value: ({ key }) => key },
  { name: "method", type: "text", value: ({ method }) => method },
  { name: "route", type: "text", value: ({ route }) => route },
  { name: "status", type: "int4", value: ({ status }) => status },
  { name: "complete", type: "bool", value: ({ complete }) => complete },
  { name: "reason", type: "text", value: ({ reason }) => reason },
  { name: "start_time", type: "timestamptz", value: ({ startTime }) => microseconds(startTime) },
  { name: "duration_us", type: "int8", value: ({ durationUs }) => durationUs },
  { name: "first_content_us", type: "int8", value: ({ firstContentUs }) => firstContentUs },
];

const names = columns.map(({ name }) => name).join(", ");
const insertion = `insert into request_records (${names}) select ${names} from ${unnested(columns, "told")} on conflict do nothing`;

export function createRequestStore(database: Database): RequestStore {
  return {
    add: (records) =>
      database.transaction(async (client) => {
        await client.query({ name: "request-records", text: insertion, values: arrayParameters(columns, records) });
      }),
  };
}

function microseconds(time: RequestRecord["startTime"]): number {
  return time === undefined ? 0 : Number(time.seconds) * 1e6 + Math.trunc(time.nanos / 1e3);
}
