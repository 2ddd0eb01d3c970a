import { readChatAnswer } from "@weir/dialect/openai-chat/answer";
import { createChatStreamReader } from "@weir/dialect/openai-chat/stream";
import { type AnswerPath, mediaTypes } from "./answer-path.ts";

/**
 * Answers of OpenAI's chat completions, and of its older text completions, to callers of the same dialect: bytes as they came,
 * read beside their way.
 */
export function chatBytes(includeUsage: boolean): AnswerPath {
  return includeUsage ? withUsage : withoutUsage;
}

function createPath(includeUsage: boolean): AnswerPath {
  return {
    streamType: mediaTypes.sse,
    contentTypes: { stream: mediaTypes.sse, whole: "application/json" },
    openStream: () => createChatStreamReader({ includeUsage }),
    readWhole(body) {
      const answer = readChatAnswer(body);
      switch (answer.kind) {
        case "answer":
          return { ...answer, piece: body };
        case "error":
          return { kind: "error", error: answer.error, piece: answer.hasErrorMember ? body : undefined };
        case "malformed":
          return answer;
      }
    },
  };
}

const withUsage = createPath(true);
const withoutUsage = createPath(false);
