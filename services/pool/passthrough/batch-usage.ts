import { isObject, type JsonObject } from "@weir/dialect/json";
import { parseJson } from "@weir/dialect/parse-json";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { readUsage } from "./usage-watch.ts";

/** What one model used for a batch. */
export interface ModelUsage {
  readonly model: string;
  readonly usage: Usage;
}

/** A batch that will not go on. */
export interface EndedBatch {
  readonly outcome: AttemptOutcome;
  /** Seconds since 1970; undefined: not said. */
  readonly endTime: number | undefined;
  /** What its provider says that it used; undefined: nothing is said, or not of which model. */
  readonly reported: ModelUsage | undefined;
  /** The file that has what each request used; undefined: there is none. */
  readonly outputFileId: string | undefined;
  /** Whether none of its requests was done, so that nothing is billed. */
  readonly isEmpty: boolean;
}

/** https://platform.openai.com/docs/api-reference/batch/object; the others go on. */
const outcomes: ReadonlyMap<unknown, AttemptOutcome> = new Map([
  ["completed", AttemptOutcome.COMPLETED],
  ["expired", AttemptOutcome.CANCELLED],
  ["cancelled", AttemptOutcome.CANCELLED],
  ["failed", AttemptOutcome.REJECTED],
]);

/**
 * What a batch object says of its end.
 * @returns undefined: it has not ended, or this is no batch
 */
export function readBatch(json: JsonObject): EndedBatch | undefined {
  const outcome = outcomes.get(json["status"]);
  if (outcome === undefined) return undefined;
  const doneCount = isObject(json["request_counts"]) ? json["request_counts"]["completed"] : undefined;
  const usage = isObject(json["usage"]) ? readUsage(json["usage"], "batches") : undefined;
  const outputFileId = textOf(json["output_file_id"]);
  const model = textOf(json["model"]);
  // Batches of before usage was reported have zeros.
  const isReported = usage !== undefined && ((usage.inputTokens ?? 0) > 0 || (usage.outputTokens ?? 0) > 0);
  const end = [json["completed_at"], json["expired_at"], json["cancelled_at"], json["failed_at"]].find(isTime);
  return {
    outcome,
    endTime: end,
    reported: isReported && model !== undefined ? { model, usage } : undefined,
    outputFileId,
    isEmpty: !isReported && outputFileId === undefined && (doneCount === 0 || outcome === AttemptOutcome.REJECTED),
  };
}

/** The longest line that is read: an answer with a picture in it. */
const lineBytesMax = 32 * 1024 * 1024;
const modelsMax = 100;
const newline = 0x0a;

/**
 * Adds up what the lines of a batch's output file report, as they come. Knows nothing more than that once a line cannot be read:
 * a sum of the others would be too small.
 */
export class BatchOutput {
  private readonly byModel = new Map<string, Usage>();
  private parts: Buffer[] = [];
  private bytes = 0;
  private isBroken = false;

  push(data: Buffer): void {
    let from = 0;
    for (let end = data.indexOf(newline); end >= 0; end = data.indexOf(newline, from)) {
      this.keep(data.subarray(from, end));
      this.endLine();
      from = end + 1;
    }
    this.keep(data.subarray(from));
  }

  /** To be called when the file is whole. @returns undefined: not all of it could be read */
  end(): ModelUsage[] | undefined {
    this.endLine();
    if (this.isBroken) return undefined;
    return Array.from(this.byModel, ([model, usage]) => ({ model, usage }));
  }

  private keep(part: Buffer): void {
    this.bytes += part.length;
    if (this.bytes > lineBytesMax) this.isBroken = true;
    if (!this.isBroken && part.length > 0) this.parts.push(part);
  }

  private endLine(): void {
    const line = Buffer.concat(this.parts).toString().trim();
    this.parts = [];
    this.bytes = 0;
    if (line === "" || this.isBroken) return;
    try {
      this.take(parseJson(line));
    } catch {
      this.isBroken = true;
    }
  }

  /** https://platform.openai.com/docs/api-reference/batch/request-output */
  private take(line: unknown): void {
    const response = isObject(line) ? line["response"] : undefined;
    const body = isObject(response) ? response["body"] : undefined;
    if (!isObject(body) || !isObject(body["usage"])) return;
    const usage = readUsage(body["usage"], "batches");
    if (usage === undefined) return;
    const model = textOf(body["model"]) ?? unnamedModel;
    const sum = added(this.byModel.get(model), usage);
    if (sum === undefined || (!this.byModel.has(model) && this.byModel.size >= modelsMax)) this.isBroken = true;
    else this.byModel.set(model, sum);
  }
}

/** Stands for the model where its provider named none: as in the rows of calls that name no model. */
export const unnamedModel = "batches";

const summed = [
  "inputTokens",
  "cachedInputTokens",
  "audioInputTokens",
  "imageInputTokens",
  "outputTokens",
  "reasoningTokens",
  "audioOutputTokens",
  "imageOutputTokens",
] as const satisfies readonly (keyof Usage)[];
const countMax = 0xffff_ffff;

/** @returns undefined: more than a count can hold */
function added(before: Usage | undefined, more: Usage): Usage | undefined {
  if (before === undefined) return more;
  const sum: Usage = { ...before };
  for (const name of summed) {
    const count = (before[name] ?? 0) + (more[name] ?? 0);
    if (count > countMax) return undefined;
    if (before[name] !== undefined || more[name] !== undefined) sum[name] = count;
  }
  return sum;
}

const textCharsMax = 256;

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" && value.length <= textCharsMax ? value : undefined;
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value < 4_000_000_000;
}
