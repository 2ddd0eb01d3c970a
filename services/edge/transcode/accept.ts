/** How a stream of messages goes out: a JSON object for each line, or server-sent events. */
export type StreamKind = "lines" | "events";

const lineTypes: ReadonlySet<string> = new Set(["application/x-ndjson", "application/jsonl", "application/json"]);

/**
 * How a client wants a stream, by its Accept header: as events when it names `text/event-stream` and nothing that means lines with more
 * weight, otherwise as lines.
 */
export function streamKind(accept: string | undefined): StreamKind {
  let events = 0;
  let lines = 0;
  for (const item of (accept ?? "").split(",")) {
    const [type = "", ...params] = item.split(";").map((part) => part.trim().toLowerCase());
    const weight = weightOf(params);
    if (type === "text/event-stream") events = Math.max(events, weight);
    else if (lineTypes.has(type)) lines = Math.max(lines, weight);
  }
  return events > 0 && events >= lines ? "events" : "lines";
}

/** https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2 */
function weightOf(params: readonly string[]): number {
  const text = params.find((param) => param.startsWith("q="))?.slice(2);
  const weight = text === undefined ? 1 : Number(text);
  return weight >= 0 && weight <= 1 ? weight : 0;
}
