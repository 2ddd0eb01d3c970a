import { createRequire } from "node:module";
import type * as orm from "drizzle-orm";
import type * as nodePostgres from "drizzle-orm/node-postgres";
import type * as pgCore from "drizzle-orm/pg-core";

// What services/metering uses of drizzle, in its CommonJS build. For each of its hundred ES modules Node parses the whole of `exports` of its
// package.json, which is 137 kB long: that takes 0.7 s of CPU at each start (Node 26.10, drizzle-orm 0.45.4), the other build a quarter of it.

const require = createRequire(import.meta.url);

export const { and, asc, desc, eq, gt, gte, inArray, isNotNull, isNull, lt, lte, ne, or, sql } =
  require("drizzle-orm") as typeof orm;
export const {
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
} = require("drizzle-orm/pg-core") as typeof pgCore;
export const { drizzle } = require("drizzle-orm/node-postgres") as typeof nodePostgres;
