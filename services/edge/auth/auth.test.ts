import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  AccountService,
  type WatchKeysResponse,
  WatchKeysResponseSchema,
} from "@weir/gen/weir/account/v1/account_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { createKeyText, keyDigest } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import { createManualClock, type ManualClock } from "../testing/manual-clock.ts";
import { createAuthenticator } from "./authenticate.ts";
import { type Caller, createCaller } from "./caller.ts";
import { createGuessLimit } from "./guess-limit.ts";
import { createNetworks, type Networks } from "./networks.ts";
import { createKeySnapshot, type KeySnapshot } from "./snapshot.ts";
import { createTokenVerifier } from "./tokens.ts";

const pepper = randomBytes(32);
const open = new Set<KeySnapshot>();
afterEach(() => {
  for (const keys of open) keys.close();
  open.clear();
});

interface Stream {
  send(message: MessageInitShape<typeof WatchKeysResponseSchema>): Promise<void>;
  fail(error: Error): Promise<void>;
  readonly signal: AbortSignal | undefined;
}

function setUp(trusted?: Networks) {
  const clock = createManualClock();
  const streams: Stream[] = [];
  const accounts = hostService(AccountService, {
    async *watchKeys(_request, { signal }) {
      const queue: (WatchKeysResponse | Error)[] = [];
      let wake: (() => void) | undefined;
      const add = async (item: WatchKeysResponse | Error) => {
        queue.push(item);
        wake?.();
        await settled();
      };
      streams.push({
        send: (message) => add(create(WatchKeysResponseSchema, message)),
        fail: (error) => add(error),
        signal,
      });
      signal.addEventListener("abort", () => wake?.(), { once: true });
      for (;;) {
        if (signal.aborted) throw new CallCancelled();
        const item = queue.shift();
        if (item instanceof Error) throw item;
        if (item !== undefined) {
          yield item;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  });
  const keys = createKeySnapshot({
    accounts: createClient(AccountService, createLocalDoor([accounts], { onDefect: () => undefined })),
    clock,
    random: () => 0.5,
    log: silentLog,
  });
  open.add(keys);
  const guesses = createGuessLimit(clock);
  const tokens = createTokenVerifier({ providers: () => [], isLoaded: () => true, clock, log: silentLog });
  const recognise = createAuthenticator({ keys, tokens, pepper, clock, guesses, trustedProxies: () => trusted });
  /** A key is never waited for. */
  const authenticate = (headers: IncomingHttpHeaders, peer: string): Caller => {
    const caller = recognise(headers, peer);
    if (caller instanceof Promise) throw new Error("a key was waited for");
    return caller;
  };
  /** A caller with a token that was verified, and names a tenant. */
  const authenticateToken = (tenant: string) => {
    const verified = { verify: () => tokenCaller(tenant), close: () => undefined };
    const known = { keys, tokens: verified, pepper, clock, guesses, trustedProxies: () => trusted };
    return createAuthenticator(known)({ authorization: "Bearer eyJ.a.b" }, "1.2.3.4");
  };
  const stream = () => streams.at(-1) as Stream;
  return { clock, keys, guesses, authenticate, authenticateToken, streams, stream };
}

function tokenCaller(tenant: string): Caller {
  const identity = { id: "jwt-0123", isToken: true, tenant, role: Role.MEMBER, everyTenant: false, team: "", user: "" };
  return createCaller({ ...identity, scope: undefined, expireMs: Number.POSITIVE_INFINITY });
}

/** Lets everything run that waits for nothing but its turn. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function newKey(scope = {}, expireMs?: number) {
  const { id, text } = createKeyText(randomBytes);
  const expireTime = expireMs === undefined ? undefined : timestampFromMs(expireMs);
  const record = { id, digest: keyDigest(pepper, text), tenant: "acme", scope, ...(expireTime ? { expireTime } : {}) };
  return { id, text, record, headers: { authorization: `Bearer ${text}` } };
}

function failureOf(call: () => unknown): WeirError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown;
    throw thrown;
  }
  throw new Error("did not fail");
}

test("a live key is recognised under each of the three headers", async () => {
  const { authenticate, stream } = setUp();
  const key = newKey();
  await stream().send({ records: [key.record], complete: true });
  const spellings = [
    { authorization: `Bearer ${key.text}` },
    { authorization: `bearer   ${key.text}` },
    { "x-api-key": key.text },
    { "api-key": key.text },
    { authorization: "Basic eDp5", "x-api-key": key.text },
  ];
  for (const headers of spellings) {
    expect(authenticate(headers, "1.2.3.4").id).toBe(key.id);
    expect(authenticate(headers, "1.2.3.4").tenant).toBe("acme");
  }
});

test("missing, malformed, unknown, wrong, expired and revoked keys read the same", async () => {
  const { authenticate, stream, clock } = setUp();
  const key = newKey();
  const expired = newKey({}, clock.now() + 1_000);
  const revoked = newKey();
  await stream().send({ records: [key.record, expired.record, revoked.record], complete: true });
  expect(authenticate(expired.headers, "1.2.3.4").id).toBe(expired.id);
  expect(authenticate(revoked.headers, "1.2.3.4").id).toBe(revoked.id);
  clock.advance(1_000);
  await stream().send({ removed: [revoked.id] });
  // The id of a live key under another secret, with a right check.
  const forged = createKeyText((size) => (size === 10 ? idBytes(key.id) : randomBytes(size))).text;
  expect(forged.slice(0, 22)).toBe(key.text.slice(0, 22));
  const failures = [
    {},
    { authorization: "Bearer" },
    { authorization: "Bearer sk-123" },
    { authorization: `Bearer ${key.text}x` },
    { authorization: `Bearer ${key.text.slice(0, -1)}${key.text.endsWith("a") ? "b" : "a"}` },
    { authorization: `Bearer ${"x".repeat(10_000)}` },
    newKey().headers,
    { authorization: `Bearer ${forged}` },
    expired.headers,
    revoked.headers,
  ].map((headers) => failureOf(() => authenticate(headers, "1.2.3.4")));
  for (const failure of failures) {
    expect(failure.reason).toBe(ErrorReason.API_KEY_INVALID);
    expect(failure.message).toBe(failures[0]?.message);
    expect(failure.metadata).toEqual({});
  }
});

/** The bytes whose base 32 is an id. */
function idBytes(id: string): Uint8Array {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  let bits = 0n;
  for (const letter of id) bits = bits * 32n + BigInt(alphabet.indexOf(letter));
  return Buffer.from(bits.toString(16).padStart(20, "0"), "hex");
}

test("before the first complete set, and when news are old, an unknown key is no wrong key", async () => {
  const { authenticate, stream, clock, keys } = setUp();
  const key = newKey();
  await settled();
  expect(failureOf(() => authenticate(key.headers, "a")).reason).toBe(ErrorReason.STORE_UNAVAILABLE);
  await stream().send({ records: [key.record] });
  expect(keys.isLoaded).toBe(false);
  expect(failureOf(() => authenticate(key.headers, "a")).reason).toBe(ErrorReason.STORE_UNAVAILABLE);
  await stream().send({ complete: true });
  expect(authenticate(key.headers, "a").id).toBe(key.id);
  expect(failureOf(() => authenticate(newKey().headers, "a")).reason).toBe(ErrorReason.API_KEY_INVALID);
  clock.advance(5_001);
  expect(keys.isFresh).toBe(false);
  const failure = failureOf(() => authenticate(newKey().headers, "a"));
  expect(failure.reason).toBe(ErrorReason.STORE_UNAVAILABLE);
  expect(failure.retryAfterMs).toBe(1_000);
  expect(authenticate(key.headers, "a").id).toBe(key.id);
  await stream().send({});
  expect(failureOf(() => authenticate(newKey().headers, "a")).reason).toBe(ErrorReason.API_KEY_INVALID);
});

test("after a break the new set replaces the old one whole, and only when it is complete", async () => {
  const { authenticate, stream, streams, clock, keys } = setUp();
  const kept = newKey();
  const lost = newKey();
  const added = newKey();
  await stream().send({ records: [kept.record, lost.record], complete: true });
  const before = authenticate(kept.headers, "a");
  authenticate(lost.headers, "a");
  await stream().fail(new WeirError(ErrorReason.STORE_UNAVAILABLE));
  expect(streams.length).toBe(1);
  clock.advance(150);
  await settled();
  expect(streams.length).toBe(2);
  await stream().send({ records: [kept.record] });
  expect(authenticate(lost.headers, "a").id).toBe(lost.id);
  await stream().send({ records: [added.record], complete: true });
  expect(keys.size).toBe(2);
  expect(failureOf(() => authenticate(lost.headers, "a")).reason).toBe(ErrorReason.API_KEY_INVALID);
  expect(authenticate(added.headers, "a").id).toBe(added.id);
  expect(authenticate(kept.headers, "a")).toBe(before);
});

test("a changed record holds at once", async () => {
  const { authenticate, stream } = setUp();
  const key = newKey({ models: ["a", "b*"] });
  await stream().send({ records: [key.record], complete: true });
  const caller = authenticate(key.headers, "a");
  expect(["a", "b", "bc", "ab", "c"].map((alias) => caller.mayCall(alias))).toEqual([true, true, true, false, false]);
  await stream().send({ records: [{ ...key.record, scope: { models: ["c"], requestsPerMinute: 5 } }] });
  const changed = authenticate(key.headers, "a");
  expect(changed.mayCall("c")).toBe(true);
  expect(changed.mayCall("a")).toBe(false);
  expect(changed.requestsPerMinute).toBe(5);
});

test.each(["tenants/acme", "teams/search", "users/ada"])(
  "while %s is disabled its keys read as wrong ones",
  async (name) => {
    const { authenticate, stream } = setUp();
    const own = newKey();
    const record = { ...own.record, team: "search", user: "ada" };
    const other = newKey();
    await stream().send({ records: [record, { ...other.record, tenant: "globex" }], complete: true });
    expect(authenticate(own.headers, "a").subjects).toEqual(["tenants/acme", "teams/search", "users/ada"]);
    await stream().send({ subjects: [{ name, disabled: true }] });
    const failure = failureOf(() => authenticate(own.headers, "a"));
    expect(failure.message).toBe(failureOf(() => authenticate(newKey().headers, "a")).message);
    expect(failure.reason).toBe(ErrorReason.API_KEY_INVALID);
    expect(authenticate(other.headers, "a").id).toBe(other.id);
    await stream().send({ subjects: [{ name }] });
    expect(authenticate(own.headers, "a").id).toBe(own.id);
  },
);

test("the tenant of a token must be there: nobody is let in on the word of a provider that names others", async () => {
  const tenant = (name: string) => ({ name: `tenants/${name}` });
  const { stream, keys, clock, authenticateToken } = setUp();
  const failure = async () => {
    try {
      return (await authenticateToken("acme")).tenant;
    } catch (thrown) {
      return (thrown as WeirError).reason;
    }
  };
  await stream().send({ subjects: [tenant("globex")], complete: true });
  expect([keys.hasTenant("acme"), await failure()]).toEqual([true, "acme"]);
  await stream().fail(new WeirError(ErrorReason.STORE_UNAVAILABLE));
  clock.advance(150);
  await settled();
  await stream().send({ subjects: [tenant("globex")], complete: true, allTenants: true });
  expect(await failure()).toBe(ErrorReason.API_KEY_INVALID);
  clock.advance(5_001);
  expect(await failure()).toBe(ErrorReason.STORE_UNAVAILABLE);
  await stream().send({ subjects: [tenant("acme")] });
  expect(await failure()).toBe("acme");
});

test("a key whose text changes under its id is known by the new one alone, and an old text finds nobody", async () => {
  const { authenticate, stream } = setUp();
  const [key, successor] = [newKey(), newKey()];
  await stream().send({ records: [key.record], complete: true });
  expect(authenticate(key.headers, "a").id).toBe(key.id);
  await stream().send({ records: [{ ...key.record, digest: successor.record.digest }] });
  expect(failureOf(() => authenticate(key.headers, "a")).reason).toBe(ErrorReason.API_KEY_INVALID);
  expect(authenticate(successor.headers, "a").id).toBe(key.id);
  await stream().send({ removed: [key.id] });
  expect(failureOf(() => authenticate(successor.headers, "a")).reason).toBe(ErrorReason.API_KEY_INVALID);
});

test("what is said of a tenant is replaced with the keys, and its limits are at hand", async () => {
  const { stream, keys, clock } = setUp();
  const limits = { requestsPerMinute: 7 };
  await stream().send({
    subjects: [
      { name: "tenants/acme", limits },
      { name: "teams/x", disabled: true },
    ],
    complete: true,
  });
  expect(keys.subject("tenants/acme")?.limits?.requestsPerMinute).toBe(7);
  await stream().fail(new WeirError(ErrorReason.STORE_UNAVAILABLE));
  clock.advance(150);
  await settled();
  await stream().send({ subjects: [{ name: "tenants/acme" }] });
  expect(keys.subject("teams/x")?.disabled).toBe(true);
  await stream().send({ complete: true });
  expect([keys.subject("tenants/acme"), keys.subject("teams/x")]).toEqual([undefined, undefined]);
});

test("a key that is confined to networks works there, and nowhere else", async () => {
  const { authenticate, stream } = setUp();
  const key = newKey({ networks: ["10.0.0.0/8", "2001:db8::/32"] });
  const lost = newKey({ networks: ["somewhere"] });
  await stream().send({ records: [key.record, lost.record], complete: true });
  for (const peer of ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"])
    expect(authenticate(key.headers, peer).id).toBe(key.id);
  const elsewhere = { ...key.headers, "x-forwarded-for": "10.1.2.3" };
  const refused = [
    failureOf(() => authenticate(key.headers, "11.1.2.3")),
    failureOf(() => authenticate(elsewhere, "11.1.2.3")),
    failureOf(() => authenticate(lost.headers, "10.1.2.3")),
  ];
  for (const failure of refused) {
    expect(failure).toMatchObject({ reason: ErrorReason.FORBIDDEN, metadata: { scope: "networks" } });
  }
});

test("behind a trusted proxy a key's network, and who guesses, is told by the proxy", async () => {
  const { authenticate, stream } = setUp(createNetworks(["192.0.2.1"], () => undefined));
  const key = newKey({ networks: ["10.0.0.0/8"] });
  await stream().send({ records: [key.record], complete: true });
  const through = (forwarded: string, headers = key.headers) =>
    authenticate({ ...headers, "x-forwarded-for": forwarded }, "192.0.2.1");
  expect(through("8.8.8.8, 10.1.2.3").id).toBe(key.id);
  expect(failureOf(() => through("10.1.2.3, 8.8.8.8")).reason).toBe(ErrorReason.FORBIDDEN);
  const guess = (forwarded: string) => failureOf(() => through(forwarded, newKey().headers)).reason;
  for (let index = 0; index < 20; index++) expect(guess(`10.0.0.${index}, 8.8.8.8`)).toBe(ErrorReason.API_KEY_INVALID);
  expect(guess("8.8.8.8")).toBe(ErrorReason.RATE_LIMITED);
  expect(guess("8.8.4.4")).toBe(ErrorReason.API_KEY_INVALID);
});

test("a stream that ends or fails is opened again, later and later, and soon again after a success", async () => {
  const { streams, stream, clock } = setUp();
  const waits: number[] = [];
  for (let index = 0; index < 8; index++) {
    await stream().fail(new Error("no"));
    waits.push(await reopening(clock, streams));
  }
  expect(waits[0]).toBe(150);
  expect(Math.max(...waits)).toBe(3_750);
  expect([...waits].sort((a, b) => a - b)).toEqual(waits);
  await stream().send({ complete: true });
  await stream().fail(new Error("no"));
  expect(await reopening(clock, streams)).toBe(80);
});

async function reopening(clock: ManualClock, streams: Stream[]): Promise<number> {
  const count = streams.length;
  let waitedMs = 0;
  while (streams.length === count && waitedMs < 20_000) {
    clock.advance(10);
    waitedMs += 10;
    await settled();
  }
  return waitedMs;
}

test("a stream without signs of life is given up", async () => {
  const { streams, stream, clock } = setUp();
  await stream().send({ complete: true });
  clock.advance(6_000);
  await stream().send({});
  clock.advance(9_000);
  expect(stream().signal?.aborted).toBe(false);
  clock.advance(1_000);
  expect(stream().signal?.aborted).toBe(true);
  await settled();
  clock.advance(5_000);
  await settled();
  expect(streams.length).toBe(2);
});

test("closing leaves nothing behind", async () => {
  const { keys, clock, stream } = setUp();
  await stream().send({ complete: true });
  keys.close();
  await settled();
  expect(clock.waiting).toBe(0);
});

test("an address that guesses is slowed, and others and valid keys are not", async () => {
  const { authenticate, stream, clock } = setUp();
  const key = newKey();
  await stream().send({ records: [key.record], complete: true });
  const guess = (address: string) => failureOf(() => authenticate(newKey().headers, address));
  for (let index = 0; index < 20; index++) expect(guess("1.2.3.4").reason).toBe(ErrorReason.API_KEY_INVALID);
  const slowed = guess("1.2.3.4");
  expect(slowed.reason).toBe(ErrorReason.RATE_LIMITED);
  expect(slowed.retryAfterMs).toBeGreaterThan(0);
  expect(authenticate(key.headers, "1.2.3.4").id).toBe(key.id);
  expect(guess("5.6.7.8").reason).toBe(ErrorReason.API_KEY_INVALID);
  clock.advance(slowed.retryAfterMs ?? 0);
  await stream().send({});
  expect(guess("1.2.3.4").reason).toBe(ErrorReason.API_KEY_INVALID);
  expect(guess("1.2.3.4").reason).toBe(ErrorReason.RATE_LIMITED);
});

test("addresses of one IPv6 network count together, and memory is bounded", () => {
  const guesses = createGuessLimit(createManualClock());
  for (let index = 0; index < 20; index++) expect(guesses.failed(`2001:db8:1:2::${index}`)).toBe(0);
  expect(guesses.failed("2001:db8:1:2:ffff::1")).toBeGreaterThan(0);
  expect(guesses.failed("2001:db8:1:3::1")).toBe(0);
  for (let index = 0; index < 20_000; index++) guesses.failed(`10.0.${index >> 8}.${index & 255}`);
  expect(guesses.size).toBe(10_000);
});
