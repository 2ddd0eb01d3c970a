import {
  ApiError,
  type Content,
  FunctionCallingConfigMode,
  type GenerateContentConfig,
  type GenerateContentParameters,
  type GenerateContentResponse,
  GoogleGenAI,
  type Part,
  ThinkingLevel,
} from "@google/genai";
import type { Ask, MatrixClient, Seen, Turn } from "../client.ts";
import { plainRaised } from "./raised.ts";

/** `models.generateContent` of the official `@google/genai`. */
export const googleGenaiClient: MatrixClient = {
  dialect: "gemini",
  async ask({ url, key }, ask) {
    const { models } = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url, retryOptions: { attempts: 1 } } });
    if (!ask.stream) return read([await models.generateContent(write(ask))]);
    const chunks: GenerateContentResponse[] = [];
    for await (const chunk of await models.generateContentStream(write(ask))) {
      chunks.push(chunk);
      const text = textOf(partsOf(chunk));
      if (text !== "") ask.onText?.(text);
    }
    return read(chunks);
  },
  // https://ai.google.dev/api/generate-content#UsageMetadata: thoughts stand beside the candidates, the cached part is inside.
  usage: ({ input, cached, output, reasoning }) => ({
    promptTokenCount: input,
    candidatesTokenCount: output - (reasoning ?? 0),
    totalTokenCount: input + output,
    ...(cached === undefined ? {} : { cachedContentTokenCount: cached }),
    ...(reasoning === undefined ? {} : { thoughtsTokenCount: reasoning }),
  }),
  ends: { text: "STOP", calls: "STOP" },
  raised(error) {
    if (!(error instanceof ApiError)) return plainRaised(error);
    const { message, status, details = [] } = readError(error.message);
    const retry = details.find(({ retryDelay }) => retryDelay !== undefined);
    return {
      name: error.constructor.name,
      status: error.status,
      words: [status],
      message: message ?? error.message,
      retryAfter: retry?.retryDelay,
    };
  },
};

/** https://cloud.google.com/apis/design/errors#error_model */
interface GoogleError {
  readonly message?: string;
  readonly status?: string;
  readonly details?: readonly { readonly retryDelay?: string }[];
}

/** The library hands over the error as the text of its JSON. */
function readError(text: string): GoogleError {
  try {
    return (JSON.parse(text) as { error?: GoogleError }).error ?? {};
  } catch {
    return {};
  }
}

function write({
  model,
  system,
  turns,
  tools,
  mustCall,
  replies,
  schema,
  effort,
  signal,
}: Ask): GenerateContentParameters {
  const config: GenerateContentConfig = {
    ...(system === undefined ? {} : { systemInstruction: system }),
    ...(tools === undefined
      ? {}
      : {
          tools: [
            {
              functionDeclarations: tools.map(({ name, description, parameters }) => ({
                name,
                description,
                parametersJsonSchema: parameters,
              })),
            },
          ],
        }),
    ...(schema === undefined ? {} : { responseMimeType: "application/json", responseJsonSchema: schema }),
    ...(effort === undefined ? {} : { thinkingConfig: { thinkingLevel: ThinkingLevel.HIGH, includeThoughts: true } }),
    ...(mustCall === true ? { toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY } } } : {}),
    ...(replies === undefined ? {} : { candidateCount: replies }),
    ...(signal === undefined ? {} : { abortSignal: signal }),
  };
  return { model, contents: turns.map(writeTurn), config };
}

function writeTurn(turn: Turn): Content {
  switch (turn.kind) {
    case "user":
      return {
        role: "user",
        parts: [
          { text: turn.text },
          ...(turn.png === undefined
            ? []
            : [{ inlineData: { mimeType: "image/png", data: turn.png.toString("base64") } }]),
        ],
      };
    case "reply":
      return { role: "model", parts: turn.reply as Part[] };
    case "results":
      return {
        role: "user",
        parts: turn.results.map(({ id, name, text }) => ({
          functionResponse: { id, name, response: { output: text } },
        })),
      };
  }
}

function read(chunks: readonly GenerateContentResponse[]): Seen {
  const parts = chunks.flatMap(partsOf);
  const last = chunks.at(-1);
  return {
    text: textOf(parts),
    reasoning: parts.map(({ thought, text }) => (thought === true ? (text ?? "") : "")).join(""),
    calls: parts.flatMap(({ functionCall }) =>
      functionCall === undefined
        ? []
        : [{ id: functionCall.id ?? "", name: functionCall.name ?? "", input: functionCall.args }],
    ),
    others: othersOf(chunks),
    end: last?.candidates?.[0]?.finishReason,
    usage: last?.usageMetadata,
    reply: parts,
    warnings: chunks[0]?.sdkHttpResponse?.headers?.["x-weir-warnings"] ?? "",
  };
}

function othersOf(chunks: readonly GenerateContentResponse[]): string[] {
  const texts = new Map<number, string>();
  for (const { candidates = [] } of chunks) {
    for (const { index = 0, content } of candidates) {
      if (index > 0) texts.set(index, (texts.get(index) ?? "") + textOf(content?.parts ?? []));
    }
  }
  return [...texts.values()];
}

function partsOf({ candidates }: GenerateContentResponse): Part[] {
  return candidates?.find(({ index = 0 }) => index === 0)?.content?.parts ?? [];
}

function textOf(parts: readonly Part[]): string {
  return parts.map(({ thought, text }) => (thought === true ? "" : (text ?? ""))).join("");
}
