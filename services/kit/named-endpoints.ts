/**
 * Endpoints that are in no scope which names models, unless it names them too: what batches and tuning jobs spend is known when they
 * have ended, and no budget stops it.
 */
export const namedEndpoints: ReadonlySet<string> = new Set(["batches", "fine_tuning"]);
