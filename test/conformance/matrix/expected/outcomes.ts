import type { VendorName } from "../../vendors/kinds.ts";
import { type ClientName, clientNames } from "../clients.ts";
import type { FeatureName } from "../features.ts";
import { type RaisedWords, raisedErrors } from "./errors.ts";

/** What must become of one feature in one cell. */
export type Expected =
  | { readonly kind: "answered"; readonly carried: boolean; readonly warnings: string }
  | { readonly kind: "refused"; readonly raised: RaisedWords; readonly text: string }
  /** There is nothing to run. */
  | { readonly kind: "none"; readonly why: string };

/** An exception from the rule that everything arrives and nothing is left out. */
interface Exception {
  readonly features: readonly FeatureName[];
  /** Absent: all. */
  readonly clients?: readonly ClientName[];
  /** Absent: all. */
  readonly vendors?: readonly VendorName[];
  expect(client: ClientName): Expected;
}

const none = (why: string) => (): Expected => ({ kind: "none", why });

/** @param carried whether the feature itself arrives, and a detail of it alone is left out */
const leftOut = (param: string, carried: boolean) => (): Expected => ({
  kind: "answered",
  carried,
  warnings: `field_dropped ${param}`,
});

const refused =
  (param: (client: ClientName) => string, text: string) =>
  (client: ClientName): Expected => ({
    kind: "refused",
    raised: raisedErrors[client].unsupported(param(client)),
    text,
  });

const chatClients: readonly ClientName[] = [
  "openai: chat.completions",
  "ai with @ai-sdk/openai-compatible",
  "@langchain/openai: ChatOpenAI",
];
const claudeClients: readonly ClientName[] = ["@anthropic-ai/sdk: messages", "ai with @ai-sdk/anthropic"];

/** The first one that fits holds. */
const exceptions: readonly Exception[] = [
  // What libraries have no way to ask for.
  {
    clients: ["openai: completions"],
    features: [
      "tool call",
      "parallel calls",
      "demanded call",
      "tool results",
      "image in",
      "JSON schema",
      "reasoning",
      "reasoning back",
      "cache mark",
    ],
    expect: none("This API takes a prompt and gives a text, no more."),
  },
  {
    clients: ["openai: responses", ...claudeClients, "ai with @ai-sdk/openai-compatible"],
    features: ["several replies"],
    expect: none("The library asks for one reply."),
  },
  {
    clients: ["@langchain/openai: ChatOpenAI"],
    features: ["several replies"],
    expect: none("`invoke` and `stream` hand over one reply, however many come."),
  },
  {
    clients: ["@google/genai: models"],
    features: ["cache mark"],
    expect: none("Google's caches are objects of their own; requests have no marks."),
  },
  // What vendors, or libraries, do not hand back.
  {
    vendors: ["openai-chat"],
    features: ["reasoning back"],
    expect: none("OpenAI keeps the reasoning of chat completions to itself: nothing is to return."),
  },
  {
    clients: ["@langchain/openai: ChatOpenAI"],
    features: ["reasoning back"],
    expect: none("The library does not send reasoning back."),
  },
  {
    // Its reasoning is text alone, which those vendors refuse without its proof.
    clients: ["ai with @ai-sdk/openai-compatible"],
    vendors: ["openai-responses", "anthropic", "bedrock"],
    features: ["reasoning back"],
    expect: leftOut("messages[1]", false),
  },
  // What vendors cannot express: hints are left out.
  {
    clients: ["openai: chat.completions", "ai with @ai-sdk/openai-compatible", "@langchain/openai: ChatOpenAI"],
    vendors: ["openai-responses", "gemini", "ollama"],
    features: ["cache mark"],
    expect: leftOut("messages[0]", false),
  },
  {
    clients: claudeClients,
    vendors: ["openai-chat", "openai-responses", "gemini", "ollama"],
    features: ["cache mark"],
    expect: leftOut("messages", false),
  },
  {
    clients: ["openai: responses"],
    vendors: ["openai-chat", "gemini", "ollama"],
    features: ["cache mark"],
    expect: leftOut("input", false),
  },
  {
    // OpenAI demands a name of every schema; these vendors have no place for one.
    clients: chatClients,
    vendors: ["anthropic", "gemini", "ollama"],
    features: ["JSON schema"],
    expect: leftOut("response_format", true),
  },
  {
    clients: ["openai: responses"],
    vendors: ["anthropic", "gemini", "ollama"],
    features: ["JSON schema"],
    expect: leftOut("text.format.name", true),
  },
  {
    // These vendors show what they think whenever they think.
    clients: ["@google/genai: models"],
    vendors: ["openai-chat", "ollama"],
    features: ["reasoning", "reasoning back"],
    expect: leftOut("generationConfig.thinkingConfig.includeThoughts", true),
  },
  // Anything else is refused.
  {
    vendors: ["ollama"],
    features: ["demanded call"],
    expect: refused(() => "tool_choice", "Ollama's models are free to call a tool or not; none can be required."),
  },
  {
    vendors: ["openai-responses", "anthropic"],
    features: ["several replies"],
    expect: refused(() => "n", "The target makes one reply only."),
  },
  {
    vendors: ["bedrock"],
    features: ["several replies"],
    expect: refused(() => "n", "Bedrock makes one choice at a time."),
  },
  {
    vendors: ["ollama"],
    features: ["several replies"],
    expect: refused(() => "n", "Ollama makes one reply; ask for one."),
  },
];

/** What must become of a feature in a cell. */
export function expectedOf(client: ClientName, vendor: VendorName, feature: FeatureName): Expected {
  const exception = exceptions.find(
    ({ features, clients = clientNames, vendors }) =>
      features.includes(feature) && clients.includes(client) && (vendors?.includes(vendor) ?? true),
  );
  return exception?.expect(client) ?? { kind: "answered", carried: true, warnings: "" };
}
