import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { consumption, start } from "./processes.ts";
import { type GrpcSample, median } from "./report.ts";
import { weirOneProcess } from "./weir.ts";

const peer = join(import.meta.dirname, "grpc-peer.ts");
const warmUpCalls = 50_000;
const callCount = 10_000;

/**
 * Measures what a unary call costs at the edge's gRPC port, authentication, limits, metrics and the call of the router included, and
 * beside it in turns what it costs a server of grpc-js that answers the same at once. CPU time of the answering process alone.
 */
export async function measureGrpc(rounds: number): Promise<GrpcSample> {
  const gateway = await weirOneProcess.start("http://127.0.0.1:9");
  const bare = await start([process.execPath, peer, "server"], /serving on (\S+)/);
  try {
    const edge = await connect(gateway.grpc ?? "", gateway.key, gateway.pids[0] ?? 0);
    const server = await connect(bare.ready[1] ?? "", "none", bare.pid);
    try {
      await edge.run(warmUpCalls);
      await server.run(warmUpCalls);
      const pairs: (readonly [bare: number, edge: number])[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const pair = [await server.run(callCount), await edge.run(callCount)] as const;
        pairs.push(pair);
        console.log(`  gRPC     bare ${pair[0].toFixed(1)} us a call, edge ${pair[1].toFixed(1)} us`);
      }
      return {
        bareUs: median(pairs.map(([us]) => us)),
        edgeUs: median(pairs.map(([, us]) => us)),
        ratio: median(pairs.map(([first, second]) => second / first)),
      };
    } finally {
      edge.close();
      server.close();
    }
  } finally {
    await bare.stop();
    await gateway.stop();
  }
}

async function connect(address: string, key: string, pid: number) {
  const client = spawn(process.execPath, [peer, "client", address, key], { stdio: ["pipe", "pipe", "inherit"] });
  return {
    /** @returns microseconds of the server's CPU time for one call */
    async run(calls: number): Promise<number> {
      const before = consumption([pid]).cpuUs;
      client.stdin.write(`${calls}\n`);
      await once(client.stdout, "data");
      return (consumption([pid]).cpuUs - before) / calls;
    },
    close(): void {
      client.stdin.end();
      client.kill();
    },
  };
}
