import { expect, test } from "vitest";
import { traitsOf } from "./traits.ts";

const older = { adaptiveThinking: false, budgetThinking: true, sampling: true, systemMessages: false };
const both = { ...older, adaptiveThinking: true };
const newer = { adaptiveThinking: true, budgetThinking: false, sampling: false, systemMessages: false };
const newest = { ...newer, systemMessages: true };

test.each([
  ["claude-2.1", older],
  ["claude-instant-1.2", older],
  ["claude-3-5-sonnet-20241022", older],
  ["claude-3-opus-20240229", older],
  ["claude-opus-4-20250514", older],
  ["claude-haiku-4-5-20251001", older],
  ["claude-opus-4-5", older],
  ["claude-sonnet-4-6", both],
  ["us.anthropic.claude-opus-4-6-v1", both],
  ["claude-opus-4-7", newer],
  ["anthropic/claude-opus-4.8", newest],
  ["claude-sonnet-5", newest],
  ["claude-fable-5-2", newest],
  ["claude-opus-10-1", newest],
  ["claude-mythos-preview", newer],
  ["deepseek-chat", older],
  ["glm-4.6", older],
])("%s", (model, traits) => {
  expect(traitsOf(model)).toEqual(traits);
});
