import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { BatchInputReader, faultyLine, type LineMemory, type LineModel } from "./batch-input.ts";

/** What the lines of a batch's input ask for. */
export interface BatchLines {
  /** By the names that lines have for them. */
  readonly models: ReadonlyMap<string, LineModel>;
  /** Where all requests go, without the version; empty: they do not say. */
  readonly endpoint: string;
  /** The collections that they name. */
  readonly collections: readonly string[];
}

/** Who looks at an upload before what was read of it goes on. Whatever it throws ends the upload. */
export interface UploadCheck {
  /** A piece of the part `file`; undefined: the part has ended. */
  content(bytes: Buffer | undefined): void;
  /** The part `purpose`. */
  purpose(value: string): void;
  /** Awaited before what was read goes on. */
  passing(): Promise<void> | undefined;
}

/**
 * Checks a file that may become the input of a batch, whose lines its provider will read by itself. What it is for may stand before
 * or behind the file: until that is known the file is read as if it were one.
 */
export class BatchUpload implements UploadCheck {
  private readonly reader: BatchInputReader;
  /** Whether ids are the caller's, and which are collections; fails with NOT_FOUND and the id as `resource`. */
  private readonly own: (ids: readonly string[]) => Promise<readonly string[]>;
  private use: string | undefined;
  private isWhole = false;
  private wasAsked = false;
  private named: readonly string[] = [];

  constructor(memory: LineMemory, own: (ids: readonly string[]) => Promise<readonly string[]>) {
    this.reader = new BatchInputReader(memory);
    this.own = own;
  }

  /** What its lines ask for; undefined: this is not the input of a batch. */
  get input(): BatchLines | undefined {
    if (this.use !== batchPurpose || !this.isWhole) return undefined;
    const { models, endpoint } = this.reader;
    return { models, endpoint, collections: this.named };
  }

  content(bytes: Buffer | undefined): void {
    if (this.use !== undefined && this.use !== batchPurpose) return;
    if (bytes !== undefined) this.reader.push(bytes);
    else {
      this.reader.end();
      this.isWhole = true;
    }
    this.refuse();
  }

  purpose(value: string): void {
    this.use = value;
    if (value !== batchPurpose) this.reader.drop();
    this.refuse();
  }

  passing(): Promise<void> | undefined {
    const { files } = this.reader;
    if (this.input === undefined || this.wasAsked || files.size === 0) return undefined;
    this.wasAsked = true;
    return this.take(files);
  }

  private async take(files: ReadonlyMap<string, number>): Promise<void> {
    try {
      this.named = await this.own([...files.keys()]);
    } catch (thrown) {
      if (!(thrown instanceof WeirError) || thrown.reason !== ErrorReason.NOT_FOUND) throw thrown;
      const line = files.get(thrown.metadata["resource"] ?? "");
      if (line === undefined) throw thrown;
      throw faultyLine(line, "names a file or vector store that is not there; upload it through this gateway first");
    }
  }

  private refuse(): void {
    if (this.use !== batchPurpose) return;
    const { failure } = this.reader;
    if (failure !== undefined) throw failure;
  }
}

/** https://platform.openai.com/docs/api-reference/files/create */
export const batchPurpose = "batch";
