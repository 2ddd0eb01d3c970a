import type { IncomingMessage, ServerResponse } from "node:http";

/** A request to an endpoint other than chat, as it came. */
export interface EndpointCall {
  readonly method: string;
  /** Below the version: `/files`. */
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

type Json = Readonly<Record<string, unknown>>;

/** A field of a multipart body. */
export interface FormPart {
  readonly name: string;
  readonly filename: string | undefined;
  readonly content: Buffer;
}

/** Reads a body of multipart/form-data, whole. */
export function formParts(headers: IncomingMessage["headers"], body: Buffer): FormPart[] {
  const boundary = /boundary="?([^";]+)"?/.exec(headers["content-type"] ?? "")?.[1] ?? "";
  const text = `\r\n${body.toString("latin1")}`;
  return text
    .split(`\r\n--${boundary}`)
    .slice(1, -1)
    .map((part) => {
      const end = part.indexOf("\r\n\r\n");
      const head = part.slice(0, end);
      return {
        name: /[; ]name="([^"]*)"/.exec(head)?.[1] ?? "",
        filename: /filename="([^"]*)"/.exec(head)?.[1],
        content: Buffer.from(part.slice(end + 4), "latin1"),
      };
    });
}

interface Kept {
  object: Record<string, unknown>;
  readonly content: Buffer;
}

const usageOfImage = {
  total_tokens: 1106,
  input_tokens: 50,
  output_tokens: 1056,
  input_tokens_details: { text_tokens: 50, image_tokens: 0 },
};
/** What is answered where an image, or speech, would be. */
export const imageBase64 = Buffer.from("an image").toString("base64");
export const speechBytes = Buffer.alloc(200_000, "sound ");

/** https://platform.openai.com/docs/api-reference/batch/object */
const usageOfBatch = {
  input_tokens: 400_000,
  input_tokens_details: { cached_tokens: 100_000 },
  output_tokens: 50_000,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: 450_000,
};
/** For a batch whose metadata says `makes: slowly`. */
const slowMs = 300;
/** Two answers, and one request that was refused. */
const batchLines = [
  { model: "real-model-2026-01-31", usage: { prompt_tokens: 30, completion_tokens: 5, total_tokens: 35 } },
  { error: { message: "no" } },
  { model: "real-model-2026-01-31", usage: { prompt_tokens: 12, completion_tokens: 4, total_tokens: 16 } },
].map((body, at) => ({
  id: `batch_req_${at}`,
  custom_id: `request-${at}`,
  response: { status_code: "error" in body ? 400 : 200, request_id: "r", body },
  error: null,
}));

/** The endpoints of OpenAI's API beside chat, as far as tests need them; what is made is kept until the simulator is gone. */
export function createEndpoints() {
  const kept = new Map<string, Kept>();
  const calls: EndpointCall[] = [];
  let serial = 0;

  const newId = (prefix: string) => `${prefix}simulated${String((serial += 1)).padStart(6, "0")}`;

  function keep(prefix: string, object: Json, content: Buffer = Buffer.alloc(0)): Json {
    const id = newId(prefix);
    const made = { id, created_at: 1_700_000_000, ...object };
    kept.set(id, { object: made, content });
    return made;
  }

  /** A batch ends when it is looked at; its metadata says how (`never`: not yet), and where its usage stands; `fails` is the status with which none is made. */
  function endBatch(batch: Kept): void {
    const { ends = "completed", usage = "nowhere" } = (batch.object["metadata"] ?? {}) as Record<string, string>;
    if (batch.object["output_file_id"] !== undefined || ends === "never") return;
    const content = usage === "lines" ? batchLines.map((line) => `${JSON.stringify(line)}\n`).join("") : "{}\n";
    const output = keep("file-", { object: "file", purpose: "batch_output" }, Buffer.from(content));
    batch.object = {
      ...batch.object,
      status: ends,
      [`${ends}_at`]: 1_700_003_600,
      output_file_id: output["id"],
      ...(usage === "object" ? { model: "real-model-2026-01-31", usage: usageOfBatch } : {}),
    };
  }

  /** @returns whether there is such an endpoint */
  function answer(call: EndpointCall, response: ServerResponse): boolean {
    const [, collection = "", second = "", third = "", fourth = ""] = call.path.split("/");
    const json = (value: unknown, status = 200) => {
      response.writeHead(status, { "content-type": "application/json", "x-request-id": `sim-${serial}` });
      response.end(JSON.stringify(value));
      return true;
    };
    const missing = () =>
      json({ error: { message: "No such object.", type: "invalid_request_error", param: null, code: null } }, 404);
    const key = `${call.method} ${collection}`;
    const parsed = (): Json => JSON.parse(call.body.toString()) as Json;
    const known = kept.get(second);

    calls.push(call);
    switch (`${call.method} ${call.path}`) {
      case "POST /images/generations": {
        const { stream, n } = parsed();
        if (stream === true) return streamImages(response);
        const data = Array.from({ length: Number(n ?? 1) }, () => ({ b64_json: imageBase64 }));
        return json({ created: 1, data, usage: usageOfImage });
      }
      case "POST /images/edits":
      case "POST /images/variations":
        return json({ created: 1, data: [{ b64_json: imageBase64 }], usage: usageOfImage });
      case "POST /audio/speech":
        response.writeHead(200, { "content-type": "audio/mpeg" });
        response.end(speechBytes);
        return true;
      case "POST /audio/transcriptions":
      case "POST /audio/translations": {
        const file = formParts(call.headers, call.body).find(({ name }) => name === "file");
        return json({ text: `${file?.content.length ?? 0} bytes`, usage: { type: "duration", seconds: 8.2 } });
      }
      case "POST /moderations":
        return json({
          id: newId("modr-"),
          model: "omni",
          results: [{ flagged: false, categories: {}, category_scores: {} }],
        });
      case "POST /rerank":
        return json({
          id: newId("r-"),
          results: [{ index: 0, relevance_score: 1 }],
          meta: { billed_units: { search_units: 1 } },
        });
      default:
        break;
    }
    if (key === "POST files" && second === "") {
      const parts = formParts(call.headers, call.body);
      const file = parts.find(({ name }) => name === "file");
      const purpose = parts.find(({ name }) => name === "purpose")?.content.toString();
      const bytes = file?.content.length ?? 0;
      return json(keep("file-", { object: "file", bytes, filename: file?.filename, purpose }, file?.content));
    }
    if (key === "POST uploads" && second === "") {
      return json(keep("upload_", { object: "upload", status: "pending", ...parsed() }));
    }
    if (key === "POST batches" && second === "") {
      const { fails, makes } = (parsed()["metadata"] ?? {}) as Record<string, string>;
      if (fails !== undefined) return json({ error: { message: "No.", type: "invalid_request_error" } }, Number(fails));
      const made = keep("batch_", { object: "batch", status: "validating", ...parsed() });
      if (makes !== "slowly") return json(made);
      setTimeout(() => json(made), slowMs);
      return true;
    }
    if (key === "POST fine_tuning" && third === "") {
      return json(keep("ftjob-", { object: "fine_tuning.job", status: "queued", ...parsed() }));
    }
    if (key === "POST vector_stores" && second === "") {
      return json(keep("vs_", { object: "vector_store", status: "completed", ...parsed() }));
    }
    const id = collection === "fine_tuning" ? third : second;
    const verb = collection === "fine_tuning" ? fourth : third;
    const found = collection === "fine_tuning" ? kept.get(third) : known;
    if (found === undefined)
      return ["files", "uploads", "batches", "fine_tuning", "vector_stores"].includes(collection) && missing();
    if (verb === "content") {
      response.writeHead(200, { "content-type": "application/octet-stream" });
      response.end(found.content);
      return true;
    }
    if (verb === "parts") {
      const data = formParts(call.headers, call.body).find(({ name }) => name === "data");
      return json(keep("part_", { object: "upload.part", upload_id: id }, data?.content));
    }
    if (verb === "complete") {
      const parts = (parsed()["part_ids"] as string[]).map((part) => kept.get(part)?.content ?? Buffer.alloc(0));
      const { filename, purpose, bytes } = found.object;
      const file = keep("file-", { object: "file", filename, purpose, bytes }, Buffer.concat(parts));
      return json((found.object = { ...found.object, status: "completed", file }));
    }
    if (verb === "cancel") {
      const status = collection === "uploads" ? "cancelled" : "cancelling";
      return json((found.object = { ...found.object, status }));
    }
    if (verb === "search") return json({ object: "vector_store.search_results.page", data: [], has_more: false });
    if (verb === "files")
      return json({ id: String(parsed()["file_id"]), object: "vector_store.file", vector_store_id: id });
    if (verb === "events") return json({ object: "list", data: [], has_more: false });
    if (call.method === "DELETE") {
      kept.delete(id);
      return json({ id, object: `${String(found.object["object"])}.deleted`, deleted: true });
    }
    if (collection === "batches") endBatch(found);
    return json(found.object);
  }

  return { answer, calls, forget: () => kept.clear() };
}

function streamImages(response: ServerResponse): true {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const event = (type: string, more: Json) =>
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`);
  event("image_generation.partial_image", { b64_json: imageBase64, partial_image_index: 0 });
  event("image_generation.completed", { b64_json: imageBase64, usage: usageOfImage });
  response.end();
  return true;
}
