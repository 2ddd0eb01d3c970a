import type { RateLimits } from "@weir/gen/weir/account/v1/account_service_pb";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { type Command, InvalidArgumentError } from "commander";
import { addressText } from "./gateway.ts";

/** What commands about tenants, teams, users and keys have in common. */

const limitOptions = [
  ["--requests-per-minute <count>", "requests a minute"],
  ["--tokens-per-minute <count>", "tokens a minute, input and output together"],
  ["--requests-per-day <count>", "requests in any 24 hours"],
  ["--tokens-per-day <count>", "tokens in any 24 hours"],
  ["--concurrent-requests <count>", "requests that are open at once"],
] as const;

/** As commander names what was chosen. */
export interface ChosenLimits {
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly requestsPerDay?: number;
  readonly tokensPerDay?: number;
  readonly concurrentRequests?: number;
}

export function withLimits(command: Command): Command {
  for (const [flag, text] of limitOptions) command.option(flag, text, wholeNumber);
  return command;
}

export function withAddress(command: Command): Command {
  return command.option("--address <address>", addressText);
}

export function withState(command: Command): Command {
  return command.option("--disable", "refuse its keys and tokens").option("--enable", "accept them again");
}

/** The state that was chosen; undefined: as it is. */
export function chosenState({
  disable,
  enable,
}: {
  readonly disable?: true;
  readonly enable?: true;
}): boolean | undefined {
  if (disable === enable) return undefined;
  return disable === true;
}

/** The limits that were chosen; undefined: none of them. */
export function chosenLimits(chosen: ChosenLimits): Partial<Omit<RateLimits, "$typeName" | "$unknown">> | undefined {
  const { requestsPerMinute, tokensPerMinute, requestsPerDay, tokensPerDay, concurrentRequests } = chosen;
  const limits = {
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
    ...(requestsPerDay === undefined ? {} : { requestsPerDay: BigInt(requestsPerDay) }),
    ...(tokensPerDay === undefined ? {} : { tokensPerDay: BigInt(tokensPerDay) }),
    ...(concurrentRequests === undefined ? {} : { concurrentRequests }),
  };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/** Limits in few words: `60 requests/min, 5 at once`. */
export function limitsText(limits: Partial<RateLimits> | undefined): string {
  const { requestsPerMinute, tokensPerMinute, requestsPerDay, tokensPerDay, concurrentRequests } = limits ?? {};
  const parts = [
    [requestsPerMinute, "requests/min"],
    [tokensPerMinute, "tokens/min"],
    [requestsPerDay, "requests/day"],
    [tokensPerDay, "tokens/day"],
    [concurrentRequests, "at once"],
  ] as const;
  const said = parts.flatMap(([limit, unit]) => (limit === undefined ? [] : [`${limit} ${unit}`]));
  return said.join(", ") || "-";
}

const roles = {
  member: Role.MEMBER,
  analyst: Role.ANALYST,
  auditor: Role.AUDITOR,
  admin: Role.ADMIN,
  owner: Role.OWNER,
} as const;

export const roleText = `what it is to the tenant: ${Object.keys(roles).join(", ")}`;

export function readRole(text: string): Role {
  const role = Object.entries(roles).find(([word]) => word === text)?.[1];
  if (role === undefined) throw new InvalidArgumentError(`expected one of ${Object.keys(roles).join(", ")}`);
  return role;
}

export function roleName(role: Role): string {
  return Object.entries(roles).find(([, known]) => known === role)?.[0] ?? "member";
}

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d{1,9}$/.test(text) || number < 1) throw new InvalidArgumentError("expected a whole number from 1");
  return number;
}

/** `teams/` and an id, however it was written; empty for what was not chosen. */
export function named(prefix: "tenants/" | "teams/" | "users/" | "keys/", id: string | undefined): string {
  return id === undefined || id === "" ? "" : `${prefix}${id.startsWith(prefix) ? id.slice(prefix.length) : id}`;
}

/** What follows the first slash of a name. */
export function idText(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}

export function dayOf(time: Timestamp | undefined): string {
  return time === undefined ? "" : timestampDate(time).toISOString().slice(0, 10);
}

/** Pages at most that a list asks for, of a thousand rows each. */
const pagesMax = 100;

/** All rows of a list that comes in pages. */
export async function allPages<T>(
  read: (pageToken: string) => Promise<{ readonly rows: readonly T[]; readonly nextPageToken: string }>,
): Promise<readonly T[]> {
  const found: T[] = [];
  let pageToken = "";
  for (let count = 0; count < pagesMax; count++) {
    const page = await read(pageToken);
    found.push(...page.rows);
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  return found;
}
