import { existsSync, readFileSync } from "node:fs";
import type { Environment } from "./settings.ts";

/** Values of variables, checked. What is wrong with one is told beside the others'; the value is then what it can be. */
export interface EnvironmentValues {
  /** Without white space around it; undefined: absent, or empty. */
  readonly text: (name: string) => string | undefined;
  /** Of the variable, or of the file that `NAME_FILE` names. */
  readonly secret: (name: string) => string | undefined;
  /** Checks a list of URLs, with commas between them. @param protocols with their colon */
  readonly url: (name: string, value: string | undefined, protocols: readonly string[]) => string | undefined;
  readonly number: (name: string, least: number, most: number, whole: boolean) => number | undefined;
  /** Checks `host:port` or `unix:/path`. */
  readonly address: (name: string, value: string) => string;
  /** Checks `host:port`. */
  readonly tcpAddress: (name: string, value: string) => string;
  /** Path of a file that exists. */
  readonly file: (name: string) => string | undefined;
}

/** @param faults gets what is wrong; never the value of a secret */
export function environmentValues(env: Environment, faults: string[]): EnvironmentValues {
  const text = (name: string): string | undefined => {
    const value = env[name]?.trim();
    return value === "" ? undefined : value;
  };
  const address = (name: string, value: string): string => {
    const fault = addressFault(value);
    if (fault !== undefined) faults.push(`${name}: ${fault}`);
    return value;
  };
  return {
    text,
    secret(name) {
      const path = text(`${name}_FILE`);
      if (path === undefined) return text(name);
      if (text(name) !== undefined) faults.push(`${name} and ${name}_FILE are both set; leave one out`);
      try {
        return readFileSync(path, "utf8").trim();
      } catch (error) {
        faults.push(`${name}_FILE: ${path} cannot be read (${codeOf(error)})`);
        return undefined;
      }
    },
    url(name, value, protocols) {
      if (value === undefined) return undefined;
      const good = value.split(",").every((part) => URL.canParse(part) && protocols.includes(new URL(part).protocol));
      if (!good) faults.push(`${name}: expected a URL that begins with ${protocols.map((p) => `${p}//`).join(" or ")}`);
      return value;
    },
    number(name, least, most, whole) {
      const value = text(name);
      if (value === undefined) return undefined;
      const parsed = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
      if (parsed >= least && parsed <= most && (!whole || Number.isInteger(parsed))) return parsed;
      faults.push(
        `${name}: expected ${whole ? "a whole number" : "a number"} from ${least} to ${most}, not "${value}"`,
      );
      return undefined;
    },
    address,
    tcpAddress(name, value) {
      if (value.startsWith("unix:")) faults.push(`${name}: expected host:port, not "${value}"`);
      return address(name, value);
    },
    file(name) {
      const path = text(name);
      if (path !== undefined && !existsSync(path)) faults.push(`${name}: there is no file ${path}`);
      return path;
    },
  };
}

/** What is wrong with `host:port` or `unix:/path`; undefined when nothing is. */
export function addressFault(value: string): string | undefined {
  if (value.startsWith("unix:")) {
    return value.startsWith("unix:/") ? undefined : `expected an absolute path after unix:, not "${value}"`;
  }
  const match = /^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(value);
  const port = Number(match?.[1] ?? Number.NaN);
  return port >= 0 && port <= 65_535 ? undefined : `expected host:port or unix:/path, not "${value}"`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown";
}
