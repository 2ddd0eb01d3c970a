/** Kinds of what providers keep; as weir.passthrough.v1.Resource names them. */
export type ResourceKind = "file" | "upload" | "batch" | "fine_tuning_job" | "vector_store" | "model";

/** One call of OpenAI's API that passes through. */
export interface Operation {
  readonly method: "GET" | "POST" | "DELETE";
  /** Below the version, as route templates are written. */
  readonly path: string;
  /** As scopes of keys name it. */
  readonly endpoint: string;
  readonly body: "none" | "json" | "multipart" | "json or multipart";
  /** Whether the body names a model: it must, it may, it does not. */
  readonly model: "required" | "optional" | "none";
  /** Names of the path that are ids of resources. */
  readonly ids: readonly string[];
  /** Parameters of the query that go on. */
  readonly query: readonly string[];
  /** What the answer is: made by this call, or gone with it. */
  readonly effect?: "creates" | "deletes";
  /** What the answer is about, for calls that make, list, change or delete one of a kind. */
  readonly kind?: ResourceKind;
  /** Answered of what the tenant owns, not by one call of the provider. */
  readonly lists?: true;
}

const paging = ["after", "before", "limit", "order"];

const call = (
  method: Operation["method"],
  path: string,
  endpoint: string,
  rest: Partial<Operation> = {},
): Operation => ({
  method,
  path,
  endpoint,
  body: "none",
  model: "none",
  ids: [],
  query: [],
  ...rest,
});

const json = { body: "json" } as const;
const multipart = { body: "multipart" } as const;
const model = { model: "required" } as const;

/** A collection whose members can be made, listed and read. */
function collection(path: string, endpoint: string, kind: ResourceKind, id: string): Operation[] {
  return [
    call("GET", path, endpoint, { kind, lists: true }),
    call("GET", `${path}/{${id}}`, endpoint, { kind, ids: [id] }),
  ];
}

/** Everything that passes through: https://platform.openai.com/docs/api-reference, https://docs.cohere.com/reference/rerank. */
export const operations: readonly Operation[] = [
  call("POST", "/images/generations", "images", { ...json, ...model }),
  call("POST", "/images/edits", "images", { body: "json or multipart", ...model }),
  call("POST", "/images/variations", "images", { ...multipart, ...model }),
  call("POST", "/audio/speech", "audio", { ...json, ...model }),
  call("POST", "/audio/transcriptions", "audio", { ...multipart, ...model }),
  call("POST", "/audio/translations", "audio", { ...multipart, ...model }),
  call("POST", "/moderations", "moderations", { ...json, model: "optional" }),
  call("POST", "/rerank", "rerank", { ...json, ...model }),

  call("POST", "/files", "files", { ...multipart, effect: "creates", kind: "file" }),
  ...collection("/files", "files", "file", "file_id"),
  call("GET", "/files/{file_id}/content", "files", { ids: ["file_id"] }),
  call("DELETE", "/files/{file_id}", "files", { ids: ["file_id"], effect: "deletes", kind: "file" }),

  call("POST", "/uploads", "files", { ...json, effect: "creates", kind: "upload" }),
  call("POST", "/uploads/{upload_id}/parts", "files", { ...multipart, ids: ["upload_id"] }),
  call("POST", "/uploads/{upload_id}/complete", "files", { ...json, ids: ["upload_id"], kind: "upload" }),
  call("POST", "/uploads/{upload_id}/cancel", "files", { ids: ["upload_id"], kind: "upload" }),

  call("POST", "/batches", "batches", { ...json, effect: "creates", kind: "batch" }),
  ...collection("/batches", "batches", "batch", "batch_id"),
  call("POST", "/batches/{batch_id}/cancel", "batches", { ids: ["batch_id"], kind: "batch" }),

  call("POST", "/fine_tuning/jobs", "fine_tuning", { ...json, ...model, effect: "creates", kind: "fine_tuning_job" }),
  ...collection("/fine_tuning/jobs", "fine_tuning", "fine_tuning_job", "job_id"),
  call("GET", "/fine_tuning/jobs/{job_id}/events", "fine_tuning", { ids: ["job_id"], query: paging }),
  call("GET", "/fine_tuning/jobs/{job_id}/checkpoints", "fine_tuning", { ids: ["job_id"], query: paging }),
  ...["cancel", "pause", "resume"].map((verb) =>
    call("POST", `/fine_tuning/jobs/{job_id}/${verb}`, "fine_tuning", { ids: ["job_id"], kind: "fine_tuning_job" }),
  ),

  call("POST", "/vector_stores", "vector_stores", { ...json, effect: "creates", kind: "vector_store" }),
  ...collection("/vector_stores", "vector_stores", "vector_store", "store_id"),
  call("POST", "/vector_stores/{store_id}", "vector_stores", { ...json, ids: ["store_id"] }),
  call("DELETE", "/vector_stores/{store_id}", "vector_stores", {
    ids: ["store_id"],
    effect: "deletes",
    kind: "vector_store",
  }),
  call("POST", "/vector_stores/{store_id}/search", "vector_stores", { ...json, ids: ["store_id"] }),
  call("POST", "/vector_stores/{store_id}/files", "vector_stores", { ...json, ids: ["store_id"] }),
  call("GET", "/vector_stores/{store_id}/files", "vector_stores", { ids: ["store_id"], query: [...paging, "filter"] }),
  call("GET", "/vector_stores/{store_id}/files/{file_id}", "vector_stores", { ids: ["store_id", "file_id"] }),
  call("POST", "/vector_stores/{store_id}/files/{file_id}", "vector_stores", { ...json, ids: ["store_id", "file_id"] }),
  call("DELETE", "/vector_stores/{store_id}/files/{file_id}", "vector_stores", { ids: ["store_id", "file_id"] }),
  call("GET", "/vector_stores/{store_id}/files/{file_id}/content", "vector_stores", { ids: ["store_id", "file_id"] }),
  call("POST", "/vector_stores/{store_id}/file_batches", "vector_stores", { ...json, ids: ["store_id"] }),
  call("GET", "/vector_stores/{store_id}/file_batches/{batch_id}", "vector_stores", { ids: ["store_id"] }),
  call("POST", "/vector_stores/{store_id}/file_batches/{batch_id}/cancel", "vector_stores", { ids: ["store_id"] }),
  call("GET", "/vector_stores/{store_id}/file_batches/{batch_id}/files", "vector_stores", {
    ids: ["store_id"],
    query: [...paging, "filter"],
  }),
];
