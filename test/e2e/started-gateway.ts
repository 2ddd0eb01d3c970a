import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, vi } from "vitest";

/** A gateway as `npm start` starts it, with the demo provider, on free ports and in a folder of its own. */
export interface StartedGateway {
  /** Base URL without `/v1`. */
  readonly url: string;
  /** Address of the gRPC port. */
  readonly grpc: string;
  readonly key: string;
  /** Gone after `stop`. */
  readonly folder: string;
  stop(): Promise<void>;
}

const main = join(dirname(dirname(import.meta.dirname)), "services/weir/main.ts");

export async function startGateway(): Promise<StartedGateway> {
  const folder = mkdtempSync(join(tmpdir(), "weir-gateway-"));
  const dataDir = join(folder, "data");
  const child = spawn(process.execPath, [main, "start", "--port", "0"], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"],
      HOME: folder,
      WEIR_DATA_DIR: dataDir,
      NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let text = "";
  child.stdout.on("data", (data: Buffer) => {
    text += data.toString();
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGINT");
    await ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await vi.waitFor(() => expect(text).toContain("Ctrl-C ends"), { timeout: 110_000, interval: 50 });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: /Weir answers at (http:\S+)\/v1/.exec(text)?.[1] ?? "",
    grpc: /gRPC +at (\S+)/.exec(text)?.[1] ?? "",
    key: readFileSync(join(dataDir, "key"), "utf8").trim(),
    folder,
    stop,
  };
}
