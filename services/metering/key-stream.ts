import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  KeyRecordSchema,
  SubjectRecordSchema,
  type WatchKeysResponseSchema,
} from "@weir/gen/weir/account/v1/account_service_pb";
import type { Clock } from "@weir/kit/clock";
import { limitsField, scopeOf } from "./key-messages.ts";
import type { KeyRow } from "./key-store.ts";
import type { KeyWatchStore, SubjectRow } from "./key-watch-store.ts";
import { roleOf } from "./role-words.ts";
import type { Waiting } from "./waiting.ts";

/** Changes made elsewhere show after this long at most; the contract says half a second. */
const pollMs = 400;
const signOfLifeMs = 1_000;
const recordsAtOnce = 500;

/** What an edge follows until it hangs up. Nothing is buffered here: each stream reads the store at its reader's pace. */
export async function* streamKeys(
  { store, clock, waiting }: { readonly store: KeyWatchStore; readonly clock: Clock; readonly waiting: Waiting },
  signal: AbortSignal,
): AsyncGenerator<MessageInitShape<typeof WatchKeysResponseSchema>> {
  // Taken before the snapshot: a change in between is sent twice, never missed.
  let revision = await store.revision();
  // Subjects before the keys that belong to them, or with the first of these.
  let subjects = await store.subjects("", recordsAtOnce);
  while (subjects.length === recordsAtOnce && !signal.aborted) {
    yield { subjects: subjects.map(toSubject) };
    subjects = await store.subjects(subjects.at(-1)?.name ?? "", recordsAtOnce);
  }
  let page: readonly KeyRow[];
  let afterKeyId = "";
  do {
    page = await store.liveKeys(afterKeyId, recordsAtOnce);
    afterKeyId = page.at(-1)?.keyId ?? "";
    const complete = page.length < recordsAtOnce;
    yield { subjects: subjects.map(toSubject), records: page.map(toRecord), complete, allTenants: complete };
    subjects = [];
  } while (page.length === recordsAtOnce && !signal.aborted);

  let sentMs = clock.monotonic();
  while (!signal.aborted && !waiting.isOver) {
    const newest = await store.revision();
    const changes = newest > revision ? await changesAfter(store, revision, newest) : undefined;
    if (changes !== undefined || clock.monotonic() - sentMs >= signOfLifeMs) {
      sentMs = clock.monotonic();
      yield changes?.message ?? {};
    }
    revision = changes?.revision ?? revision;
    if (revision < newest) continue;
    await waiting.wait(Math.min(pollMs, Math.max(0, sentMs + signOfLifeMs - clock.monotonic())), signal);
  }
}

/** @returns what changed, and the revision up to which all of it is told */
async function changesAfter(store: KeyWatchStore, revision: bigint, newest: bigint) {
  const rows = await store.changedKeys(revision, recordsAtOnce);
  const subjects = await store.changedSubjects(revision, recordsAtOnce);
  const ends = [rows, subjects].flatMap((list) => {
    const last = list.at(-1);
    return list.length === recordsAtOnce && last !== undefined ? [last.revision] : [];
  });
  return {
    message: {
      records: rows.filter((row) => row.revokeTime === null).map(toRecord),
      removed: rows.filter((row) => row.revokeTime !== null).map((row) => row.keyId),
      subjects: subjects.map(toSubject),
    },
    revision: ends.reduce((least, end) => (end < least ? end : least), newest),
  };
}

function toRecord(row: KeyRow) {
  return create(KeyRecordSchema, {
    id: row.keyId,
    digest: row.digest,
    tenant: row.tenantId,
    scope: scopeOf(row),
    ...(row.expireTime && { expireTime: timestampFromDate(row.expireTime) }),
    role: roleOf(row.role),
    everyTenant: row.everyTenant,
    team: row.teamId ?? "",
    user: row.userId ?? "",
  });
}

function toSubject({ name, limits, disabled }: SubjectRow) {
  return create(SubjectRecordSchema, {
    name,
    disabled,
    ...limitsField(limits),
  });
}
