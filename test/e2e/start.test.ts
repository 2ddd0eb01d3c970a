import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { blocksOf, textOf } from "../blocks.ts";

// `npm start` as a person meets it: no other server, no key of a provider, nothing but Node.

const root = dirname(dirname(import.meta.dirname));
const main = join(root, "services/weir/main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-start-"));
const dataDir = join(folder, "data");
const env = {
  PATH: process.env["PATH"] ?? "",
  HOME: folder,
  WEIR_DATA_DIR: dataDir,
  NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
};

interface Started {
  readonly child: ChildProcess;
  readonly text: string;
  readonly url: string;
  readonly curl: string;
}

let running: ChildProcess | undefined;

async function start(): Promise<Started> {
  const child = spawn(process.execPath, [main, "start", "--port", "0"], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running = child;
  let text = "";
  let complaints = "";
  child.stdout.on("data", (data: Buffer) => {
    text += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    complaints += data.toString();
  });
  await vi.waitFor(
    () => {
      if (child.exitCode !== null) throw new Error(`ended with code ${child.exitCode}:\n${text}${complaints}`);
      expect(text, complaints).toContain("Ctrl-C ends");
    },
    { timeout: 60_000, interval: 50 },
  );
  const url = /Weir answers at (http:\S+)/.exec(text)?.[1] ?? "";
  const curl = /^ +(curl .+)$/m.exec(text)?.[1] ?? "";
  return { child, text, url, curl };
}

/** Ends the gateway as Ctrl-C does, and resolves with its exit code. */
async function stop(child: ChildProcess): Promise<number | null> {
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  child.kill("SIGINT");
  return exited;
}

async function weir(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args], { cwd: folder, env });
  return stdout;
}

async function shell(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)("/bin/sh", ["-c", command], { cwd: folder, env });
  return stdout;
}

let first: Started;
let key: string;

beforeAll(async () => {
  const begun = performance.now();
  first = await start();
  expect(performance.now() - begun).toBeLessThan(60_000);
  key = readFileSync(join(dataDir, "key"), "utf8").trim();
}, 90_000);

afterAll(() => {
  running?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

test("prints a base URL, a key and a curl line, and the line answers", async () => {
  expect(first.text).toContain(key);
  expect(key).toMatch(/^weir_[a-z2-7]{16}_[a-z2-7]{32}_[a-z2-7]{7}$/);
  const answer = JSON.parse(await shell(first.curl.replace("curl ", "curl -sS "))) as OpenAI.ChatCompletion;
  expect(answer.choices[0]?.message.content).toContain("demo model");
});

test("the official SDK talks to it with another base URL and key, streaming and not", async () => {
  const client = new OpenAI({ baseURL: first.url, apiKey: key });
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const model = models.find((id) => !id.includes("*")) ?? "";
  const messages = [{ role: "user" as const, content: "four words for you" }];
  const whole = await client.chat.completions.create({ model, messages });
  expect(whole.choices[0]?.message.content).toContain("4 words");
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  expect(text).toBe(whole.choices[0]?.message.content);
});

test("keeps its data folder to itself", () => {
  for (const path of [dataDir, ...readdirSync(dataDir).map((name) => join(dataDir, name))]) {
    expect(statSync(path).mode & 0o077, path).toBe(0);
  }
});

test("the command line makes and ends keys, and says what was used", async () => {
  const secret = (await weir("keys", "create", "--name", "second", "--model", "nothing*")).trim();
  await vi.waitFor(async () => {
    const client = new OpenAI({ baseURL: first.url, apiKey: secret, maxRetries: 0 });
    await expect(client.models.list()).resolves.toMatchObject({ data: [] });
  });
  const listed = await weir("keys", "list");
  expect(listed).toContain("second");
  expect(listed).not.toContain(secret);
  await weir("keys", "revoke", secret.split("_")[1] ?? "");
  await vi.waitFor(async () => {
    const client = new OpenAI({ baseURL: first.url, apiKey: secret, maxRetries: 0 });
    await expect(client.models.list()).rejects.toMatchObject({ status: 401 });
  });
  // One answer by curl, two by the SDK.
  await vi.waitFor(async () => expect(await weir("usage", "--by", "tenant")).toMatch(/default +3 +3 /), {
    timeout: 10_000,
  });
});

test("the README's curl and JavaScript answer, and its command lines are right", async () => {
  const here = (text: string) =>
    text
      .replaceAll("http://127.0.0.1:8787/v1", first.url)
      .replaceAll("ws://127.0.0.1:8787/v1", first.url.replace("http", "ws"))
      .replaceAll(".weir/key", join(dataDir, "key"));
  const curl = blocksOf("README.md", "sh").find((block) => block.startsWith("curl ")) ?? "";
  const answer = JSON.parse(await shell(here(curl).replace("curl ", "curl -sS "))) as OpenAI.ChatCompletion;
  expect(answer.choices[0]?.message.content).toContain("demo model");
  for (const page of ["README.md", "docs/websocket.md"]) {
    const [code = ""] = blocksOf(page, "js");
    // In the repository, where the SDK is installed.
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", here(code)], {
      cwd: root,
      env: { ...env, WEIR_KEY: key },
      timeout: 30_000,
    });
    expect(stdout, page).toContain("demo model");
  }
  const commands = [...textOf("README.md").matchAll(/`npm run weir -- ([^`]+)`/g)].map(([, line = ""]) =>
    line.replaceAll(/\s+/g, " "),
  );
  expect(commands).toHaveLength(6);
  // Of a provider that served nothing.
  const usage = join(dataDir, "usage.json");
  writeFileSync(usage, JSON.stringify([{ day: "2026-11-01", model: "gpt-4o", input_tokens: 0, output_tokens: 0 }]));
  for (const line of commands.filter((text) => text !== "config check")) {
    await shell(`"${process.execPath}" "${main}" ${line.replace("usage.json", usage)}`);
  }
});

test("a second gateway on the same folder is refused, and says why", async () => {
  await expect(weir("start", "--port", "0")).rejects.toMatchObject({ code: expect.toSatisfy((code) => code !== 0) });
});

test("ends in order, and when started again keeps keys and usage and says where the key is", async () => {
  expect(await stop(first.child)).toBe(0);
  const second = await start();
  expect(second.text).toContain(join(dataDir, "key"));
  expect(second.text).not.toContain(key);
  expect(readFileSync(join(dataDir, "key"), "utf8").trim()).toBe(key);
  const answer = JSON.parse(await shell(second.curl.replace("curl ", "curl -sS "))) as OpenAI.ChatCompletion;
  expect(answer.choices[0]?.message.content).toContain("demo model");
  await vi.waitFor(async () => expect(await weir("usage", "--by", "tenant")).toMatch(/default +7 +7 /), {
    timeout: 10_000,
  });
  expect(await stop(second.child)).toBe(0);
});
