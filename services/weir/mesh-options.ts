import { readFileSync } from "node:fs";
import type { ServerTlsOptions } from "@weir/kit/grpc/credentials";
import type { MeshOptions } from "@weir/kit/mesh";
import type { Settings, TlsFiles } from "./settings.ts";

/** How a process meets others, from its settings. Reads the files of TLS. */
export function meshOptions(settings: Settings, name: string): MeshOptions {
  return {
    name,
    listen: settings.listen,
    peers: settings.peers,
    tls: settings.tls === undefined ? undefined : readTls(settings.tls),
  };
}

export function readTls(files: TlsFiles) {
  return {
    ca: readFileSync(files.authorityPath),
    cert: readFileSync(files.certificatePath),
    key: readFileSync(files.keyPath),
    callers: files.callers,
    serverName: files.serverName,
  };
}

/** How the gRPC port of the edge shows who it is; undefined: it does not. Reads the files. */
export function grpcTls({ grpcTls: files }: Settings): ServerTlsOptions | undefined {
  if (files === undefined) return undefined;
  return { cert: readFileSync(files.certificatePath), key: readFileSync(files.keyPath) };
}
