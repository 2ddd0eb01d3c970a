import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Hop, hops, inMemory } from "./hop-peer.ts";
import { consumption, start } from "./processes.ts";
import { type HopSample, median } from "./report.ts";

const peer = join(import.meta.dirname, "hop-peer.ts");
const perSecond = 600;
const seconds = 3;
const streamCount = 300;
const messageCount = 60;

/**
 * Measures what each way from one service to another costs: CPU time of both ends for one call that is answered with one
 * message (`perSecond` of them), and for one message of `streamCount` streams at once, what the handlers do included.
 */
export async function measureHops(rounds = 3): Promise<HopSample[]> {
  const calls = new Map<Hop, number[]>();
  const messages = new Map<Hop, number[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const hop of hops) {
      const [call, message] = await measureHop(hop);
      calls.set(hop, [...(calls.get(hop) ?? []), call]);
      messages.set(hop, [...(messages.get(hop) ?? []), message]);
      console.log(
        `  hop      ${hop.padEnd(34)} ${call.toFixed(1)} us a call, ${message.toFixed(1)} us a streamed message`,
      );
    }
  }
  return hops.map((hop) => ({
    hop,
    cpuUsPerCall: median(calls.get(hop) ?? []),
    cpuUsPerMessage: median(messages.get(hop) ?? []),
  }));
}

async function measureHop(hop: Hop): Promise<[number, number]> {
  const server = inMemory(hop) ? undefined : await start([process.execPath, peer, "server", hop], /serving on (\S+)/);
  const client = spawn(process.execPath, [peer, "client", hop, server?.ready[1] ?? ""], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const pids = [client.pid ?? 0, ...(server === undefined ? [] : [server.pid])];
    await once(client.stdout, "data");
    const job = async (line: string): Promise<number> => {
      const before = consumption(pids).cpuUs;
      client.stdin.write(`${line}\n`);
      await once(client.stdout, "data");
      return consumption(pids).cpuUs - before;
    };
    await job(`calls ${perSecond} 2`);
    const call = (await job(`calls ${perSecond} ${seconds}`)) / (perSecond * seconds);
    await job(`streams ${streamCount} 20`);
    const message = (await job(`streams ${streamCount} ${messageCount}`)) / (streamCount * messageCount);
    return [call, message];
  } finally {
    client.stdin.end();
    client.kill();
    await server?.stop();
  }
}
