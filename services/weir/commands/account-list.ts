import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { RateLimits } from "@weir/gen/weir/account/v1/account_service_pb";
import { type Column, renderTable } from "../table.ts";
import { type ChosenLimits, chosenLimits, chosenState, dayOf, idText, limitsText } from "./account-options.ts";

/** What tenants, teams and users have in common: their keys are limited together, and refused when they are disabled. */
interface Subject {
  readonly name: string;
  readonly displayName: string;
  readonly disabled: boolean;
  readonly limits?: RateLimits | undefined;
  readonly createTime?: Timestamp | undefined;
}

export interface ListOptions {
  readonly json?: true;
  readonly address?: string;
}

/**
 * Writes a list: a table, or for programs one JSON object for each line.
 * @param title what one of them is called
 * @param more columns behind its names
 */
export function writeList<D extends DescMessage>(
  schema: D,
  rows: readonly (MessageShape<D> & Subject)[],
  { json }: ListOptions,
  title: string,
  more: readonly Column<MessageShape<D> & Subject>[] = [],
): void {
  if (json) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(toJson<D>(schema, row))}\n`);
    return;
  }
  process.stdout.write(
    renderTable<MessageShape<D> & Subject>(rows, [
      { title, text: ({ name }) => idText(name) },
      { title: "name", text: ({ displayName }) => displayName },
      ...more,
      { title: "state", text: stateText },
      { title: "limits of all keys together", text: ({ limits }) => limitsText(limits) },
      { title: "created", text: ({ createTime }) => dayOf(createTime) },
    ]),
  );
}

/** As commander names what was chosen of an update. */
export interface UpdateOptions extends ChosenLimits {
  readonly name?: string;
  /** False: `--no-limits`. */
  readonly limits?: boolean;
  readonly disable?: true;
  readonly enable?: true;
  readonly address?: string;
}

/** What an update says: only what was chosen. */
export function chosenChanges(chosen: UpdateOptions) {
  const limits = chosen.limits === false ? {} : chosenLimits(chosen);
  const disabled = chosenState(chosen);
  return {
    ...(chosen.name === undefined ? {} : { displayName: chosen.name }),
    ...(limits === undefined ? {} : { limits }),
    ...(disabled === undefined ? {} : { disabled }),
  };
}

/** `live, limits 60 requests/min` */
export function standingText(subject: Pick<Subject, "disabled" | "limits"> | undefined): string {
  return `${stateText(subject)}, limits ${limitsText(subject?.limits)}`;
}

function stateText(subject: Pick<Subject, "disabled"> | undefined): string {
  return subject?.disabled ? "disabled" : "live";
}
