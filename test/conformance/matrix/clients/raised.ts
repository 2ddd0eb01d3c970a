import type { Raised } from "../client.ts";

/** What any error says. */
export function plainRaised(error: unknown): Raised {
  return error instanceof Error
    ? { name: error.constructor.name, message: error.message }
    : { name: typeof error, message: String(error) };
}
