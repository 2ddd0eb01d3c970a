import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { TlsOptions } from "@weir/kit/grpc/credentials";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { mayCallMethod } from "./mesh-callers.ts";
import type { TlsFiles } from "./settings.ts";

/** How often files are looked at; certificates that are replaced overlap for longer than that. */
const intervalMs = 5_000;

/** TLS from files. */
export interface WatchedTls {
  /** Always as the files were when they last fitted together. */
  readonly tls: TlsOptions;
  close(): void;
}

/** Reads TLS once. @throws Error of the system */
export function readTls(files: TlsFiles): TlsOptions {
  const { callers, serverName, trustDomain } = files;
  return {
    ...readMaterial(files),
    callers,
    serverName,
    identities: trustDomain === undefined ? undefined : { trustDomain, mayCall: mayCallMethod },
  };
}

/**
 * Reads TLS, and again whenever the files have changed: connections that are made from then on show and ask for the new
 * certificates, those that stand go on. While files do not fit together, as in the middle of being replaced, the old ones
 * hold.
 * @throws Error of the system when the files cannot be read at first
 */
export function watchTls(files: TlsFiles, { clock, log }: { readonly clock: Clock; readonly log: Log }): WatchedTls {
  let material = readMaterial(files);
  let isFaulty = false;
  const listeners: (() => void)[] = [];
  let cancelTimer = clock.after(intervalMs, look);

  function look(): void {
    cancelTimer = clock.after(intervalMs, look);
    try {
      const next = readMaterial(files);
      if (names.every((name) => next[name].equals(material[name]))) return;
      // Throws when key and certificate are not a pair.
      createSecureContext(next);
      material = next;
      isFaulty = false;
    } catch (error) {
      if (!isFaulty) log.warn({ error }, "the files of TLS cannot be used; what they were before holds");
      isFaulty = true;
      return;
    }
    for (const renewed of listeners) renewed();
    log.info({}, "new certificates are in force");
  }

  return {
    tls: {
      ...readTls(files),
      get ca() {
        return material.ca;
      },
      get cert() {
        return material.cert;
      },
      get key() {
        return material.key;
      },
      onRenewed: (renewed) => void listeners.push(renewed),
    },
    close: () => cancelTimer(),
  };
}

const names = ["ca", "cert", "key"] as const;

function readMaterial(files: TlsFiles) {
  return {
    ca: readFileSync(files.authorityPath),
    cert: readFileSync(files.certificatePath),
    key: readFileSync(files.keyPath),
  };
}
