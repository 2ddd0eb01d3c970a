/**
 * Endpoints that are in no scope which names models, unless it names them too: their calls run models that stand in files, which
 * nobody here reads.
 */
export const namedEndpoints: ReadonlySet<string> = new Set(["batches", "fine_tuning"]);
