import { randomBytes, randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createKeyRecogniser } from "@weir/edge/auth/key-recogniser";
import { createKeySnapshot } from "@weir/edge/auth/snapshot";
import { AccountService, WatchKeysResponseSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { createKeyText, keyDigest, type KeyText } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";

// Whether the time that a wrong key takes says anything of the right one: `node bench/key-timing.ts [--samples 500000]`. The method is
// that of dudect (https://eprint.iacr.org/2016/1123): classes of input in random order, each call timed alone, Welch's t of each pair of
// classes, over all samples and over those below percentiles that are the same for all classes. |t| of 4.5 or more is a difference.
// The same is done to two functions that are known to leak, which must be found out, or the measurement is worth nothing.

const { values } = parseArgs({ options: { samples: { type: "string", default: "500000" } } });
/** Of each function, over all classes. */
const samples = Number(values.samples);
const warmUps = 50_000;
const threshold = 4.5;

const pepper = randomBytes(32);
/** Keys that nobody guesses at. */
const others = Array.from({ length: 20_000 }, () => createKeyText(randomBytes));
/** New keys of each round, and guesses of each class at them: one at each. */
const victimsAtOnce = 1_024;

const idLength = 16;
const secretStart = "weir_".length + idLength + 1;
const secretLength = 32;

/** A key whose id and secret are as given, with the check that they come to. */
function keyText(id: string, secret: string): string {
  const bytes = [id, secret].map((text) => Buffer.from(fromBase32(text)));
  const { text } = createKeyText(() => bytes.shift() as Buffer);
  return text;
}

function fromBase32(text: string): number[] {
  const bytes: number[] = [];
  let bits = 0;
  let held = 0;
  for (const letter of text) {
    held = ((held << 5) | "abcdefghijklmnopqrstuvwxyz234567".indexOf(letter)) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((held >>> bits) & 0xff);
    }
  }
  return bytes;
}

function otherLetter(letter: string): string {
  const letters = "abcdefghijklmnopqrstuvwxyz234567".replace(letter, "");
  return letters[randomInt(letters.length)] as string;
}

/** The right text but for one letter of its secret. */
function wrongAt({ id, text }: KeyText, at: number): string {
  const secret = text.slice(secretStart, secretStart + secretLength);
  return keyText(id, secret.slice(0, at) + otherLetter(secret[at] as string) + secret.slice(at + 1));
}

const secretOf = (text: string) => text.slice(secretStart, secretStart + secretLength);

/** A guess at the key of a victim. The first two differ in nothing, and show what the measurement makes of nothing. */
const classes: Readonly<Record<string, (victim: KeyText) => string>> = {
  "an unknown id": () => createKeyText(randomBytes).text,
  "an unknown id again": () => createKeyText(randomBytes).text,
  "a known id, another secret": ({ id }) => keyText(id, secretOf(createKeyText(randomBytes).text)),
  "wrong at the first letter": (victim) => wrongAt(victim, 0),
  "wrong at the last letter": (victim) => wrongAt(victim, secretLength - 1),
};
const names = Object.keys(classes);

/** Guesses in an order, and so in places of memory, that have nothing to do with their classes. */
function guessesAt(victims: readonly KeyText[]): readonly { readonly kind: number; readonly text: string }[] {
  return Object.values(classes)
    .flatMap((make, kind) => victims.map((victim) => ({ kind, text: make(victim), place: Math.random() })))
    .toSorted((a, b) => a.place - b.place)
    .map(({ kind, text }) => ({ kind, text: Buffer.from(text).toString("latin1") }));
}

interface Sums {
  count: number;
  mean: number;
  squares: number;
}

/** One more value, by Welford's method. */
function add(sums: Sums, value: number): void {
  sums.count += 1;
  const delta = value - sums.mean;
  sums.mean += delta / sums.count;
  sums.squares += delta * (value - sums.mean);
}

/** https://en.wikipedia.org/wiki/Welch%27s_t-test */
function welch(a: Sums, b: Sums): number {
  const error = a.squares / (a.count - 1) / a.count + b.squares / (b.count - 1) / b.count;
  return (a.mean - b.mean) / Math.sqrt(error);
}

interface Finding {
  readonly pair: string;
  readonly t: number;
  /** Nanoseconds. */
  readonly difference: number;
  readonly percentile: number;
}

/** The differences of a function's time between classes, at each percentile; the greatest first. */
async function measure(call: (text: string) => unknown): Promise<readonly Finding[]> {
  const kinds = new Uint8Array(samples);
  const times = new Float64Array(samples);
  for (let index = -warmUps; index < samples; ) {
    for (const { kind, text } of guessesAt(await newVictims())) {
      const start = performance.now();
      call(text);
      const end = performance.now();
      if (index >= 0 && index < samples) {
        kinds[index] = kind;
        times[index] = (end - start) * 1e6;
      }
      index += 1;
    }
  }
  const sorted = times.toSorted();
  const findings = [50, 75, 90, 99, 100].flatMap((percentile) => {
    const most = sorted[Math.ceil((samples * percentile) / 100) - 1] as number;
    const sums = names.map((): Sums => ({ count: 0, mean: 0, squares: 0 }));
    times.forEach((time, index) => {
      if (time <= most) add(sums[kinds[index] as number] as Sums, time);
    });
    return names.flatMap((name, a) =>
      names.slice(a + 1).map((other, offset): Finding => {
        const [one, two] = [sums[a] as Sums, sums[a + 1 + offset] as Sums];
        return { pair: `${name} / ${other}`, t: welch(one, two), difference: one.mean - two.mean, percentile };
      }),
    );
  });
  return findings.toSorted((a, b) => Math.abs(b.t) - Math.abs(a.t));
}

let next = Promise.withResolvers<MessageInitShape<typeof WatchKeysResponseSchema>>();
const accounts = hostService(AccountService, {
  async *watchKeys() {
    yield create(WatchKeysResponseSchema, { records: others.map(recordOf), complete: true });
    for (;;) {
      const message = await next.promise;
      next = Promise.withResolvers();
      yield create(WatchKeysResponseSchema, message);
    }
  },
});
const keys = createKeySnapshot({
  accounts: createClient(AccountService, createLocalDoor([accounts])),
  clock: systemClock,
  random: Math.random,
  log: silentLog,
});

function recordOf({ id, text }: KeyText) {
  return { id, digest: keyDigest(pepper, text), tenant: "acme" };
}

let victims: readonly KeyText[] = [];
const textById = new Map(others.map(({ id, text }) => [id, text]));
const digestById = new Map(others.map(({ id, text }) => [id, keyDigest(pepper, text)]));

/**
 * Keys in the place of those of the round before. Each is guessed at once in each class: what a text costs by itself, such as a longer
 * walk through a table, is chance, and must not count as often as the text is repeated.
 */
async function newVictims(): Promise<readonly KeyText[]> {
  const removed = victims.map(({ id }) => id);
  victims = Array.from({ length: victimsAtOnce }, () => createKeyText(randomBytes));
  for (const id of removed) {
    textById.delete(id);
    digestById.delete(id);
  }
  for (const { id, text } of victims) {
    textById.set(id, text);
    digestById.set(id, keyDigest(pepper, text));
  }
  next.resolve({ records: victims.map(recordOf), removed });
  const last = digestById.get(victims.at(-1)?.id ?? "") as Buffer;
  while (keys.find(last) === undefined) await new Promise((resolve) => setImmediate(resolve));
  return victims;
}

const measured: readonly (readonly [name: string, leaks: boolean, call: (text: string) => unknown])[] = [
  ["Weir's: by the HMAC of the whole text", false, createKeyRecogniser(keys, pepper)],
  [
    "a control: texts, letter by letter",
    true,
    (text) => {
      const right = textById.get(text.slice(5, 21)) ?? "";
      for (let at = 0; at < text.length; at += 1) if (text.charCodeAt(at) !== right.charCodeAt(at)) return false;
      return true;
    },
  ],
  [
    "a control: by id, then no HMAC for an unknown id",
    true,
    (text) => {
      const right = digestById.get(text.slice(5, 21));
      return right !== undefined && keyDigest(pepper, text).equals(right);
    },
  ],
];

let isSound = true;
for (const [name, leaks, call] of measured) {
  const findings = await measure(call);
  const isFound = Math.abs(findings[0]?.t ?? 0) >= threshold;
  isSound &&= isFound === leaks;
  process.stdout.write(`${name}: ${isFound ? "DIFFERS" : "no difference"} (${samples} samples)\n`);
  const alike = findings.find(({ pair }) => pair === `${names[0]} / ${names[1]}`);
  for (const finding of [...findings.slice(0, 3), ...(alike === undefined ? [] : [alike])]) {
    const { pair, t, difference, percentile } = finding;
    process.stdout.write(`  t ${t.toFixed(2)}, ${difference.toFixed(1)} ns, up to percentile ${percentile}: ${pair}\n`);
  }
}
keys.close();
process.exitCode = isSound ? 0 : 1;
