import type { Capabilities } from "./capabilities.ts";

const gpt4 = "https://developers.openai.com/api/docs/models/gpt-4";
const gpt4Turbo = "https://developers.openai.com/api/docs/models/gpt-4-turbo";
const gpt4Preview = "https://developers.openai.com/api/docs/models/gpt-4-turbo-preview";
const gpt35 = "https://developers.openai.com/api/docs/models/gpt-3.5-turbo";
const audioMini = "https://developers.openai.com/api/docs/models/gpt-4o-mini-audio-preview";

/** What a vendor documents that a model of its own cannot take. */
export interface KnownModel extends Capabilities {
  /** The vendor's page that says so. */
  readonly source: string;
}

const text = { images: false, audio: false } as const;

const openai: ReadonlyMap<string, KnownModel> = new Map([
  ["gpt-4", { ...text, contextTokens: 8_192, source: gpt4 }],
  ["gpt-4-0613", { ...text, contextTokens: 8_192, source: gpt4 }],
  ["gpt-4-turbo", { audio: false, contextTokens: 128_000, source: gpt4Turbo }],
  ["gpt-4-turbo-2024-04-09", { audio: false, contextTokens: 128_000, source: gpt4Turbo }],
  ["gpt-4-turbo-preview", { ...text, contextTokens: 128_000, source: gpt4Preview }],
  ["gpt-4-0125-preview", { ...text, contextTokens: 128_000, source: gpt4Preview }],
  ["gpt-3.5-turbo", { ...text, contextTokens: 16_385, source: gpt35 }],
  ["gpt-3.5-turbo-0125", { ...text, contextTokens: 16_385, source: gpt35 }],
  ["gpt-4o-mini-audio-preview", { images: false, contextTokens: 128_000, source: audioMini }],
  ["gpt-4o-mini-audio-preview-2024-12-17", { images: false, contextTokens: 128_000, source: audioMini }],
]);

/** By origin: whoever else serves a model of the same name may have given it other limits. */
export const knownModels: ReadonlyMap<string, ReadonlyMap<string, KnownModel>> = new Map([
  ["https://api.openai.com", openai],
]);
