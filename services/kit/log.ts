import { pino, stdTimeFunctions } from "pino";
import { reasonWord, WeirError } from "./weir-error.ts";

/**
 * Flat facts about one event: strings, numbers, booleans, bigints and short lists of them. An error, under any name, is
 * written as its type, reason, code and stack; its message only when it is a WeirError's. Any other object is written as
 * `[object]`, because nobody has checked what is inside. No prompts, replies, credentials or texts of a provider.
 */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes JSON lines. Never throws and never waits. */
export interface Log {
  debug(fields: LogFields, text: string): void;
  info(fields: LogFields, text: string): void;
  warn(fields: LogFields, text: string): void;
  error(fields: LogFields, text: string): void;
}

/** The log of a process; its root flushes it before it exits. */
export interface ProcessLog extends Log {
  /** Writes out what is buffered, now. */
  flush(): void;
}

export const logLevels = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogOptions {
  /** Name of the process: `edge`, or `edge,router,pool`. */
  readonly service: string;
  readonly level: LogLevel;
  /** A file descriptor, or what takes lines. Default 1, standard output. */
  readonly destination?: number | { write(line: string): void };
}

/** Lines wait this long for others, so that a write serves many; warnings and errors do not wait. */
const flushDelayMs = 100;
const flushBytes = 8_192;
/** Lines that nobody takes are dropped beyond this, rather than kept. */
const bufferBytesMax = 4_194_304;

/** Opens the log of a process. Lines carry `time` (ISO), `level`, `service`, the fields and `message`. */
export function createLog(options: LogOptions): ProcessLog {
  const target = openDestination(options.destination ?? 1);
  const logger = pino(
    {
      level: options.level,
      base: { service: options.service },
      messageKey: "message",
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    target,
  );
  const writer = (level: Exclude<LogLevel, "silent">) => {
    if (!logger.isLevelEnabled(level)) return ignore;
    const urgent = level === "warn" || level === "error";
    return (fields: LogFields, text: string): void => {
      logger[level](cleanFields(fields), text);
      target.written(urgent);
    };
  };
  return {
    debug: writer("debug"),
    info: writer("info"),
    warn: writer("warn"),
    error: writer("error"),
    flush: () => target.flush(),
  };
}

function ignore(): void {}

/** Writes nothing; for tests. */
export const silentLog: ProcessLog = { debug: ignore, info: ignore, warn: ignore, error: ignore, flush: ignore };

interface Target {
  write(line: string): void;
  written(urgent: boolean): void;
  flush(): void;
}

function openDestination(destination: number | { write(line: string): void }): Target {
  if (typeof destination !== "number") {
    return { write: (line) => destination.write(line), written: ignore, flush: ignore };
  }
  const file = pino.destination({
    dest: destination,
    sync: false,
    minLength: flushBytes,
    maxLength: bufferBytesMax,
  });
  // A log that cannot be written must not end the process that it describes.
  file.on("error", ignore);
  let timer: NodeJS.Timeout | undefined;
  const start = () => {
    timer = undefined;
    file.flush(ignore);
  };
  return {
    write: (line) => void file.write(line),
    written(urgent) {
      if (urgent) {
        file.flush(ignore);
      } else if (timer === undefined) {
        timer = setTimeout(start, flushDelayMs);
        timer.unref();
      }
    },
    flush() {
      try {
        file.flushSync();
      } catch {
        // Standard output is gone; there is nobody left to tell.
      }
    },
  };
}

/** Names under which a secret or a customer's text could travel, whatever their spelling. */
const forbiddenName =
  /authorization|api_?-?key$|secret|password|pepper|cookie|credential|^(prompt|messages?|content|body|reply|data|headers)$/i;
/** Secrets by their look: bearer credentials, our keys and the vendors'. */
const secretLook =
  /\b(?:Bearer\s+\S+|weir_[a-z2-7]{8,}\S*|(?:sk|gsk|xai|pk|rk)[-_][A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,})/g;
const textLengthMax = 2_000;
const listLengthMax = 32;
const causesMax = 4;

function cleanFields(fields: LogFields): Record<string, unknown> {
  const clean: Record<string, unknown> = {};
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    if (forbiddenName.test(name)) clean[name] = "[redacted]";
    // What was thrown may be anything, also text.
    else clean[name] = name === "error" ? describeError(value) : cleanValue(value);
  }
  return clean;
}

function cleanValue(value: unknown): unknown {
  switch (typeof value) {
    case "string":
      return cleanText(value);
    case "number":
    case "boolean":
      return value;
    case "bigint":
      return String(value);
    case "object":
      if (value === null) return null;
      if (value instanceof Error) return describeError(value);
      if (Array.isArray(value)) return value.slice(0, listLengthMax).map(cleanItem);
      break;
    default:
      break;
  }
  return `[${typeof value}]`;
}

function cleanItem(item: unknown): unknown {
  return typeof item === "object" && item !== null ? "[object]" : cleanValue(item);
}

function cleanText(text: string): string {
  const short = text.length > textLengthMax ? `${text.slice(0, textLengthMax)}...` : text;
  return short.replace(secretLook, "[redacted]");
}

/** An error as facts that hold no text of users, drivers or providers. */
export interface ErrorDescription {
  readonly type: string;
  /** Of a WeirError: its reason's word. */
  readonly reason?: string;
  /** Of a WeirError: its text. */
  readonly text?: string;
  /** Of a system or driver error: `ECONNRESET`, `23505`. */
  readonly code?: string;
  /** Where it was thrown, without the message. */
  readonly stack?: readonly string[];
  readonly cause?: ErrorDescription;
}

/** Describes anything thrown, for a log. */
export function describeError(thrown: unknown, depth = 0): ErrorDescription {
  if (!(thrown instanceof Error)) return { type: typeof thrown };
  const code = "code" in thrown && !(thrown instanceof WeirError) ? thrown.code : undefined;
  const hasCause = thrown.cause !== undefined && depth < causesMax;
  return {
    type: cleanText(thrown.name),
    ...(thrown instanceof WeirError ? { reason: reasonWord(thrown.reason), text: cleanText(thrown.message) } : {}),
    ...(typeof code === "string" || typeof code === "number" ? { code: cleanText(String(code)) } : {}),
    stack: frames(thrown),
    ...(hasCause ? { cause: describeError(thrown.cause, depth + 1) } : {}),
  };
}

const framesMax = 12;

function frames(error: Error): string[] {
  const stack = typeof error.stack === "string" ? error.stack : "";
  // The message stands before the frames and may itself hold lines that look like frames.
  const messageAt = error.message === "" ? -1 : stack.indexOf(error.message);
  const rest = messageAt < 0 ? stack : stack.slice(messageAt + error.message.length);
  return rest
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .slice(0, framesMax)
    .map((line) => line.trim().slice(3));
}
