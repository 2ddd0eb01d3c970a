import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsFiles } from "weir/settings";

/** Authorities and certificates of a test, as PEM files. */
export interface Certificates {
  authority(name: string): void;
  /** @param names subject alternative names: `URI:spiffe://weir.test/edge` @param days until it ends; 0: it has ended */
  certificate(name: string, issuer: string, names: string, days?: number): void;
  /** The files of a process: copies that a test may replace. */
  files(process: string, certificate: string, authority: string): TlsFiles;
  /** Puts other certificates in the place of a process's files. */
  replace(process: string, certificate: string, authority: string): void;
  remove(): void;
}

const elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

export function createCertificates(trustDomain: string): Certificates {
  const folder = mkdtempSync(join(tmpdir(), "weir-certificates-"));
  const path = (file: string) => join(folder, file);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const copy = (process: string, certificate: string, authority: string) => {
    copyFileSync(path(`${certificate}.key`), path(`${process}-process.key`));
    copyFileSync(path(`${certificate}.crt`), path(`${process}-process.crt`));
    copyFileSync(path(`${authority}.crt`), path(`${process}-process-ca.crt`));
  };
  return {
    authority(name) {
      const out = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
      openssl("req", "-x509", ...elliptic, "-days", "2", "-subj", `/CN=${name}`, ...out);
    },
    certificate(name, issuer, names, days = 2) {
      openssl("req", ...elliptic, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
      writeFileSync(path(`${name}.ext`), `subjectAltName=${names}`);
      const from = ["-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`, "-CAcreateserial", "-extfile", `${name}.ext`];
      openssl("x509", "-req", "-in", `${name}.csr`, ...from, "-days", String(days), "-out", `${name}.crt`);
    },
    files(process, certificate, authority) {
      copy(process, certificate, authority);
      return {
        certificatePath: path(`${process}-process.crt`),
        keyPath: path(`${process}-process.key`),
        authorityPath: path(`${process}-process-ca.crt`),
        callers: undefined,
        serverName: undefined,
        trustDomain,
      };
    },
    replace: copy,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
