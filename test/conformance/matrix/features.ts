import type { LedgerReader } from "../../ledger.ts";
import {
  demandedCall,
  jsonSchema,
  parallelCalls,
  reasoning,
  severalReplies,
  stream,
  text,
  toolCall,
} from "./features/answers.ts";
import { aborted, brokenAfterContent, refused } from "./features/failures.ts";
import { cacheMark, imageIn, reasoningBack, toolResults } from "./features/inputs.ts";
import { createUsage } from "./features/usage.ts";
import type { Feature } from "./outcome.ts";

export const featureNames = [
  "text",
  "stream",
  "tool call",
  "parallel calls",
  "demanded call",
  "tool results",
  "image in",
  "JSON schema",
  "several replies",
  "reasoning",
  "reasoning back",
  "cache mark",
  "error before",
  "error after content",
  "abort",
  "usage",
] as const;

export type FeatureName = (typeof featureNames)[number];

export function createFeatures(ledger: () => LedgerReader): Readonly<Record<FeatureName, Feature>> {
  return {
    text,
    stream,
    "tool call": toolCall,
    "parallel calls": parallelCalls,
    "demanded call": demandedCall,
    "tool results": toolResults,
    "image in": imageIn,
    "JSON schema": jsonSchema,
    "several replies": severalReplies,
    reasoning,
    "reasoning back": reasoningBack,
    "cache mark": cacheMark,
    "error before": refused,
    "error after content": brokenAfterContent,
    abort: aborted,
    usage: createUsage(ledger),
  };
}
