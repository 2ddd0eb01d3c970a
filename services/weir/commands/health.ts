import { Command } from "commander";
import { readTls } from "../tls-files.ts";
import { readSettings, type Settings } from "../settings.ts";
import { OperatorError } from "../operator-error.ts";

const timeoutMs = 4_000;

export function healthCommand(): Command {
  return new Command("health")
    .description("ask a running process of this machine whether it is well; exit code 0 when it is")
    .option("--url <url>", "ask this URL instead: well is an answer of 2xx")
    .addHelpText(
      "after",
      "\nWithout --url it asks the gRPC health service at WEIR_LISTEN, or the edge at WEIR_PORT when WEIR_LISTEN is not set.\n\nExample:\n  weir health --url http://127.0.0.1:8787/health/ready",
    )
    .action(async (chosen: { url?: string }) => {
      const settings = readSettings(process.env);
      if (chosen.url !== undefined) await askUrl(chosen.url);
      else if (settings.listen !== undefined) await askGrpc(settings.listen, settings);
      else await askUrl(`http://${hereOf(`${settings.host}:${settings.port}`)}/health/live`);
      process.stdout.write("well\n");
    });
}

async function askUrl(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) }).catch((error: unknown) => {
    throw new OperatorError(`${url} does not answer`, { cause: error });
  });
  await response.body?.cancel();
  if (!response.ok) throw new OperatorError(`${url} answers ${response.status}`);
}

async function askGrpc(listen: string, settings: Settings): Promise<void> {
  // Asked every few seconds in a container: what a question over HTTP does not need is not loaded.
  const { Health, HealthCheckResponse_ServingStatus: ServingStatus } = await import(
    "@weir/gen/grpc/health/v1/health_pb"
  );
  const { createClient } = await import("@weir/kit/client");
  const { createGrpcDoor } = await import("@weir/kit/grpc/client");
  const address = hereOf(listen);
  const door = createGrpcDoor({ address, tls: settings.tls === undefined ? undefined : readTls(settings.tls) });
  try {
    const { status } = await createClient(Health, door).check({}, { timeoutMs });
    if (status !== ServingStatus.SERVING) throw new OperatorError(`${address} serves no more`);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError(`${address} does not answer`, { cause: error });
  } finally {
    door.close();
  }
}

/** Where a process of this machine is called that listens on every address. */
export function hereOf(address: string): string {
  return address.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
}
