import { readProviderError } from "../bedrock-converse/provider-error.ts";
import type { RequestWriting } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import type { EmbeddingReading, EmbeddingRequest, EmbeddingTarget } from "./embedding.ts";
import { common, omissionsOf, onlyInput, textsOf } from "./omissions.ts";
import { inputUsage } from "./usage.ts";

/**
 * The dialect of a model of Amazon Bedrock, whose `InvokeModel` passes bodies on as its vendor wants them.
 * @param model a model's id or ARN, or that of an inference profile
 * @returns undefined for models of other vendors, and for those that embed images
 */
export function bedrockEmbeddings(model: string): EmbeddingTarget | undefined {
  if (/amazon\.titan-embed-(?:g1-)?text/.test(model)) return titan;
  return model.includes("cohere.embed-") ? cohere : undefined;
}

const titanName = "titan-embeddings";

/** https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html */
const titan: EmbeddingTarget = {
  name: titanName,
  inputsMember: undefined,
  inputsMax: 1,
  writeRequest(request: EmbeddingRequest): RequestWriting {
    const { dimensions } = onlyInput(request);
    const [inputText] = textsOf(request.inputs);
    return {
      body: { inputText, ...(dimensions === undefined ? {} : { dimensions }) },
      warnings: omissionsOf(request, titanName),
    };
  },
  readAnswer({ embedding, inputTextTokenCount }: JsonObject): EmbeddingReading | undefined {
    if (embedding === undefined) return undefined;
    return { vectors: [embedding], ordered: true, model: "", usage: inputUsage(inputTextTokenCount) };
  },
  readError: readProviderError,
};

const cohereName = "cohere-embeddings";

/**
 * https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html, and v3 beside it. What was used is in a
 * header alone, if anywhere, and so is counted.
 */
const cohere: EmbeddingTarget = {
  name: cohereName,
  inputsMember: "texts",
  inputsMax: 96,
  writeRequest(request: EmbeddingRequest): RequestWriting {
    const dimensions = common(request.inputs, "dimensions");
    return {
      body: {
        texts: textsOf(request.inputs),
        input_type: inputType(common(request.inputs, "task")),
        embedding_types: ["float"],
        truncate: "NONE",
        ...(dimensions === undefined ? {} : { output_dimension: dimensions }),
      },
      warnings: omissionsOf(request, cohereName, ["task"]),
    };
  },
  readAnswer({ embeddings }: JsonObject): EmbeddingReading | undefined {
    const vectors = isObject(embeddings) ? embeddings["float"] : embeddings;
    return Array.isArray(vectors) ? { vectors, ordered: true, model: "", usage: undefined } : undefined;
  },
  readError: readProviderError,
};

/** Cohere wants to know what vectors are for. Most are of documents, and so is one of which nothing is said. */
function inputType(task: string | undefined): string {
  switch (task) {
    case "RETRIEVAL_QUERY":
    case "QUESTION_ANSWERING":
    case "CODE_RETRIEVAL_QUERY":
    case "FACT_VERIFICATION":
      return "search_query";
    case "CLASSIFICATION":
      return "classification";
    case "CLUSTERING":
      return "clustering";
    default:
      return "search_document";
  }
}
