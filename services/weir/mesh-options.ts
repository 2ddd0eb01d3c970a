import { readFileSync } from "node:fs";
import type { ServerTlsOptions, TlsOptions } from "@weir/kit/grpc/credentials";
import type { MeshOptions } from "@weir/kit/mesh";
import type { Settings } from "./settings.ts";

/** How a process meets others, from its settings. @param tls undefined: without */
export function meshOptions(settings: Settings, name: string, tls: TlsOptions | undefined): MeshOptions {
  return { name, listen: settings.listen, peers: settings.peers, tls };
}

/** How the gRPC port of the edge shows who it is, and asks its callers; undefined: neither. Reads the files. */
export function grpcTls({ grpcTls: files }: Settings): ServerTlsOptions | undefined {
  if (files === undefined) return undefined;
  const { certificatePath, keyPath, authorityPath } = files;
  return {
    cert: readFileSync(certificatePath),
    key: readFileSync(keyPath),
    ca: authorityPath === undefined ? undefined : readFileSync(authorityPath),
  };
}
