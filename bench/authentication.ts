import { hash, randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { create } from "@bufbuild/protobuf";
import { createAdmission } from "@weir/edge/admission";
import { createAuthenticator } from "@weir/edge/auth/authenticate";
import { createGuessLimit } from "@weir/edge/auth/guess-limit";
import { createKeySnapshot } from "@weir/edge/auth/snapshot";
import { startIssuer } from "@weir/edge/auth/testing/issuer";
import { createTokenVerifier } from "@weir/edge/auth/tokens";
import { aliasLimits } from "@weir/edge/limits/alias-limits";
import { mayName } from "@weir/edge/files/kept-names";
import { createLimits } from "@weir/edge/limits/limits";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { readWireRequest } from "@weir/dialect/wire-request";
import { AccountService, WatchKeysResponseSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { createKeyText, keyDigest } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";

// CPU of what comes before a chat is passed on, for one request: `node bench/authentication.ts [--rounds 5]`. Authentication of an API key
// and of a token that was seen before, authorisation, limits, reading the envelope of the body with its JSON parsed and checked, and
// the look for names of what providers keep. Beside it what no gateway is spared, in the same round: one hash of the key and one JSON.parse of the body.

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const rounds = Number(values.rounds);
const requests = 100_000;

const pepper = randomBytes(32);
const clock = systemClock;
const made = Array.from({ length: 1_000 }, () => createKeyText(randomBytes));
const scope = { models: ["small", "big*"], requestsPerMinute: 4_000_000_000, tokensPerMinute: 4_000_000_000 };
const records = made.map(({ id, text }) => ({
  id,
  digest: keyDigest(pepper, text),
  tenant: "acme",
  team: "acme.search",
  scope,
}));
const accounts = hostService(AccountService, {
  async *watchKeys(_request, { signal }) {
    yield create(WatchKeysResponseSchema, { records, complete: true });
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      yield create(WatchKeysResponseSchema, {});
    }
  },
});
const keys = createKeySnapshot({
  accounts: createClient(AccountService, createLocalDoor([accounts])),
  clock,
  random: Math.random,
  log: silentLog,
});
const issuer = await startIssuer(() => Date.now());
const providers = [issuer.config()];
const tokens = createTokenVerifier({ providers: () => providers, isLoaded: () => true, clock, log: silentLog });
const authenticate = createAuthenticator({
  keys,
  tokens,
  pepper,
  clock,
  guesses: createGuessLimit(clock),
  trustedProxies: () => undefined,
});
const aliases = aliasLimits({});
const limits = createLimits({
  clock,
  defaults: () => ({ requestsPerMinute: 4_000_000_000, tokensPerMinute: 4_000_000_000 }),
  subject: () => undefined,
  aliases: () => aliases,
  onRefused: ({ kind }) => {
    throw new Error(`${kind} are used up`);
  },
});
const admit = createAdmission({ authenticate, limits, isOverloaded: () => false });
const access = { permission: Permission.MODELS_CALL, endpoint: "chat" };
const body = Buffer.from(
  JSON.stringify({
    model: "small",
    temperature: 0.2,
    messages: [
      { role: "system", content: "You are a helpful assistant that answers in one sentence." },
      { role: "user", content: "What is the capital of France, and since when? ".repeat(4) },
    ],
  }),
);

/** The same of an agent with ten tools. */
const agentBody = Buffer.from(
  JSON.stringify({
    ...(JSON.parse(body.toString()) as object),
    tools: Array.from({ length: 10 }, (_, n) => ({
      type: "function",
      function: {
        name: `look_up_${n}`,
        description: "Looks something up in the archive, by its title and by the year in which it was written.",
        parameters: {
          type: "object",
          properties: { title: { type: "string" }, year: { type: "integer" }, limit: { type: "integer" } },
          required: ["title"],
        },
      },
    })),
  }),
);

/** One request up to the moment when it is passed on. */
function request(headers: Record<string, string>, body: Buffer): void {
  const admitted = admit({ headers, address: "192.0.2.1" }, access);
  if (admitted instanceof Promise) throw new Error("it was waited for");
  const { caller, admission } = admitted;
  const { envelope, inputTokensEstimate } = readWireRequest(openaiChat, body, undefined);
  if (mayName(body)) throw new Error("it names what a provider keeps");
  const model = envelope.model ?? "";
  if (!caller.mayCall(model)) throw new Error("the model is not in the scope");
  const reserving = admission.reserve(model, inputTokensEstimate + 1_024);
  if (reserving !== undefined) throw new Error("a store was asked");
  admission.settle(300);
  admission.end();
}

/** @returns microseconds of CPU for each call */
function cpuOf(call: (index: number) => void): number {
  const before = process.cpuUsage();
  for (let index = 0; index < requests; index += 1) call(index);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / requests;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}

while (!keys.isLoaded) await new Promise((resolve) => setTimeout(resolve, 10));
const byKey = made.slice(0, 100).map(({ text }) => ({ authorization: `Bearer ${text}` }));
const byToken = await Promise.all(
  Array.from({ length: 100 }, async (_, n) => ({ authorization: `Bearer ${await issuer.sign({ sub: `user-${n}` })}` })),
);
for (const headers of byToken) await authenticate(headers, "192.0.2.1");

const measured = {
  "an API key, limits and validation": (index: number) => request(byKey[index % 100] as Record<string, string>, body),
  "a token, limits and validation": (index: number) => request(byToken[index % 100] as Record<string, string>, body),
  "an API key, limits and validation, ten tools": (index: number) =>
    request(byKey[index % 100] as Record<string, string>, agentBody),
  "authentication of an API key alone": (index: number) =>
    void authenticate(byKey[index % 100] as Record<string, string>, "192.0.2.1"),
  "authentication of a token alone": (index: number) =>
    void authenticate(byToken[index % 100] as Record<string, string>, "192.0.2.1"),
  "one hash of the key and one JSON.parse": (index: number) => {
    hash("sha256", (byKey[index % 100] as { authorization: string }).authorization, "hex");
    JSON.parse(body.toString());
  },
  "one JSON.parse with ten tools": () => void JSON.parse(agentBody.toString()),
};
const results = new Map<string, number[]>(Object.keys(measured).map((name) => [name, []]));
for (const call of Object.values(measured)) cpuOf(call);
for (let round = 0; round < rounds; round += 1) {
  for (const [name, call] of Object.entries(measured)) results.get(name)?.push(cpuOf(call));
}
for (const [name, numbers] of results) {
  const spread = `${Math.min(...numbers).toFixed(2)} to ${Math.max(...numbers).toFixed(2)}`;
  process.stdout.write(`${name.padEnd(46)} ${median(numbers).toFixed(2)} us of CPU (${spread})\n`);
}

keys.close();
tokens.close();
limits.close();
await issuer.close();
