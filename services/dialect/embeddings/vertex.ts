import type { RequestWriting } from "../codec.ts";
import { readError } from "../gemini/provider-error.ts";
import { isObject, type JsonObject } from "../json.ts";
import type { EmbeddingReading, EmbeddingRequest, EmbeddingTarget } from "./embedding.ts";
import { readAnswer as readContentAnswer } from "./gemini-answer.ts";
import { common, omissionsOf, onlyInput, textsOf } from "./omissions.ts";
import { inputUsage } from "./usage.ts";

const name = "vertex-embeddings";

/** A way to call models of Vertex AI. */
export interface VertexEmbeddings extends EmbeddingTarget {
  /** What the path says of it. */
  readonly verb: "predict" | "embedContent";
}

/**
 * The way to call a model: newer Gemini models have `embedContent`, all others `predict`. Google's own client
 * (@google/genai, `tIsVertexEmbedContentModel`) tells them apart by their names, too.
 */
export function vertexEmbeddings(model: string): VertexEmbeddings {
  const isNew = (model.includes("gemini") && model !== "gemini-embedding-001") || model.includes("maas");
  return isNew ? embedContent : predict;
}

/** https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api */
const predict: VertexEmbeddings = {
  name,
  verb: "predict",
  inputsMember: "instances",
  // 250, but one for some models and fewer in some regions: Google judges what is more.
  inputsMax: 1,
  writeRequest(request: EmbeddingRequest): RequestWriting {
    const texts = textsOf(request.inputs);
    const dimensions = common(request.inputs, "dimensions");
    const instances = request.inputs.map(({ task, title }, index) => ({
      content: texts[index],
      ...(task === undefined ? {} : { task_type: task }),
      ...(title === undefined ? {} : { title }),
    }));
    // A text that is too long is an error, as with other providers, rather than cut in silence.
    const parameters = {
      autoTruncate: false,
      ...(dimensions === undefined ? {} : { outputDimensionality: dimensions }),
    };
    return { body: { instances, parameters }, warnings: omissionsOf(request, name, ["task", "title"]) };
  },
  readAnswer(body: JsonObject): EmbeddingReading | undefined {
    const { predictions } = body;
    if (!Array.isArray(predictions)) return undefined;
    const embeddings = predictions.map((prediction: unknown) =>
      isObject(prediction) ? prediction["embeddings"] : null,
    );
    if (!embeddings.every(isObject)) return undefined;
    const counts = embeddings.map(({ statistics }) => (isObject(statistics) ? statistics["token_count"] : undefined));
    const total = counts.every(Number.isInteger)
      ? (counts as number[]).reduce((sum, count) => sum + count, 0)
      : undefined;
    return {
      vectors: embeddings.map(({ values }) => values),
      ordered: true,
      model: "",
      usage: inputUsage(total),
    };
  },
  readError,
};

/** https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings */
const embedContent: VertexEmbeddings = {
  name,
  verb: "embedContent",
  inputsMember: undefined,
  inputsMax: 1,
  writeRequest(request: EmbeddingRequest): RequestWriting {
    const { dimensions, task, title } = onlyInput(request);
    const [text] = textsOf(request.inputs);
    const embedContentConfig = {
      autoTruncate: false,
      ...(task === undefined ? {} : { taskType: task }),
      ...(title === undefined ? {} : { title }),
      ...(dimensions === undefined ? {} : { outputDimensionality: dimensions }),
    };
    return {
      body: { content: { parts: [{ text }] }, embedContentConfig },
      warnings: omissionsOf(request, name, ["task", "title"]),
    };
  },
  readAnswer: readContentAnswer,
  readError,
};
