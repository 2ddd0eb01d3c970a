import type { RequestWriting } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { readError } from "../ollama/errors.ts";
import { type EmbeddingReading, type EmbeddingRequest, type EmbeddingTarget, inputsMax } from "./embedding.ts";
import { common, omissionsOf, textsOf } from "./omissions.ts";
import { inputUsage } from "./usage.ts";

const name = "ollama-embeddings";

/** Ollama's `POST /api/embed`: https://docs.ollama.com/api/embed */
export const ollamaEmbeddings: EmbeddingTarget = {
  name,
  inputsMember: "input",
  inputsMax,
  writeRequest,
  readAnswer,
  readError,
};

function writeRequest(request: EmbeddingRequest, model: string): RequestWriting {
  const dimensions = common(request.inputs, "dimensions");
  return {
    body: {
      model,
      input: textsOf(request.inputs),
      // A text that is too long is an error, as with other providers, rather than cut in silence.
      truncate: false,
      ...(dimensions === undefined ? {} : { dimensions }),
    },
    warnings: omissionsOf(request, name),
  };
}

function readAnswer(body: JsonObject): EmbeddingReading | undefined {
  const { embeddings, model } = body;
  if (!Array.isArray(embeddings)) return undefined;
  return {
    vectors: embeddings,
    ordered: true,
    model: typeof model === "string" ? model : "",
    usage: inputUsage(body["prompt_eval_count"]),
  };
}
