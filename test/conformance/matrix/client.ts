import type { Tokens } from "../vendors/counts.ts";

/** A gateway and a key for it. */
export interface Door {
  /** Base URL without `/v1`. */
  readonly url: string;
  readonly key: string;
}

/** What a user asks a model, in words of no dialect. */
export interface Ask {
  readonly model: string;
  /** Whether the library reads the answer as a stream. */
  readonly stream: boolean;
  readonly turns: readonly Turn[];
  readonly system?: string;
  readonly tools?: readonly AskTool[];
  /** JSON Schema of the reply. */
  readonly schema?: object;
  readonly effort?: "high";
  /** Whether the model must call a tool. */
  readonly mustCall?: boolean;
  /** How many replies to make. */
  readonly replies?: number;
  /** Marks the end of `system` for the vendor's prompt cache. */
  readonly cached?: boolean;
  readonly signal?: AbortSignal;
  /** Told of each piece of text as it comes. */
  readonly onText?: (text: string) => void;
}

export type Turn =
  | { readonly kind: "user"; readonly text: string; readonly png?: Buffer }
  /** What the model said, as the library handed it over. */
  | { readonly kind: "reply"; readonly reply: unknown }
  /** Results of all calls of the reply before, in order. */
  | { readonly kind: "results"; readonly results: readonly CallResult[] };

export interface AskTool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of its arguments. */
  readonly parameters: object;
}

export interface CallResult {
  readonly id: string;
  readonly name: string;
  readonly text: string;
}

/** What the library hands its user. */
export interface Seen {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly SeenCall[];
  /** Texts of further replies. */
  readonly others?: readonly string[];
  /** Why the reply ended, in the library's words. */
  readonly end: unknown;
  /** What was used, as the library has it. */
  readonly usage: unknown;
  /** The turn as the library wants it back. */
  readonly reply: unknown;
  /** What the gateway says it left out: `x-weir-warnings`. */
  readonly warnings: string;
}

export interface SeenCall {
  readonly id: string;
  readonly name: string;
  /** The arguments, parsed. */
  readonly input: unknown;
}

/** An official library, as its users drive it. */
export interface MatrixClient {
  /** The dialect it speaks, by the codec's name. */
  readonly dialect: string;
  /** Asks, and hands over what came. @throws what the library raises */
  ask(door: Door, ask: Ask): Promise<Seen>;
  /** How the library shows counts; members that are not named here do not matter. */
  usage(tokens: Tokens): object;
  /** The library's words for replies that ended by themselves, and with calls. */
  readonly ends: { readonly text: unknown; readonly calls: unknown };
  /** What of a failure its users can look at. */
  raised(error: unknown): Raised;
}

/** A failure as a library raises it. */
export interface Raised {
  /** Name of its class. */
  readonly name: string;
  readonly status?: number | undefined;
  /** The dialect's own words for the failure: code, type, status. */
  readonly words?: readonly unknown[];
  readonly message: string;
  readonly retryAfter?: string | undefined;
}

/** Watches the headers of a library's answers, for libraries that hide them. */
export function createHeaderWatch() {
  let warnings = "";
  return {
    async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
      const response = await fetch(input, init);
      warnings = response.headers.get("x-weir-warnings") ?? "";
      return response;
    },
    warnings: () => warnings,
  };
}

/** A picture of one pixel as `data:` URL. */
export function dataUrl(png: Buffer): string {
  return `data:image/png;base64,${png.toString("base64")}`;
}
