import { scanMembers } from "@weir/dialect/json-scan";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { toWeirError, WeirError } from "@weir/kit/weir-error";
import { mayName, type Names } from "../../files/kept-names.ts";
import { namesInBody } from "../../files/request-names.ts";

export interface EventGateDeps {
  /** Lets an event name what it names, or fails. */
  check(names: Names): Promise<void>;
  pass(event: Buffer): void;
  /** Told of an event that does not pass; the session goes on. */
  refuse(error: WeirError, event: Buffer): void;
  /** Nothing waits any more. */
  onEmpty(): void;
}

const depthMax = 128;
const noMembers: ReadonlySet<string> = new Set();

/**
 * Lets the events of a session through in their order, each as it came. One that may name what the provider keeps waits until it is
 * known that its caller may, and those after it wait with it; the others pass at once.
 */
export class EventGate {
  private readonly deps: EventGateDeps;
  private readonly waiting: Buffer[] = [];
  private bytes = 0;
  private isBusy = false;

  constructor(deps: EventGateDeps) {
    this.deps = deps;
  }

  /** Bytes that wait. */
  get waitingBytes(): number {
    return this.bytes;
  }

  push(event: Buffer): void {
    if (!this.isBusy && !mayName(event)) {
      this.deps.pass(event);
      return;
    }
    this.waiting.push(event);
    this.bytes += event.length;
    if (!this.isBusy) void this.run();
  }

  /** Nothing passes any more. */
  close(): void {
    this.waiting.length = 0;
    this.bytes = 0;
  }

  private async run(): Promise<void> {
    this.isBusy = true;
    for (let event = this.waiting[0]; event !== undefined; event = this.waiting[0]) {
      let error: WeirError | undefined;
      try {
        if (mayName(event)) await this.deps.check(namesIn(event));
      } catch (thrown) {
        error = toWeirError(thrown);
      }
      // Closed meanwhile.
      if (this.waiting[0] !== event) break;
      this.waiting.shift();
      this.bytes -= event.length;
      if (error === undefined) this.deps.pass(event);
      else this.deps.refuse(error, event);
    }
    this.isBusy = false;
    this.deps.onEmpty();
  }
}

function namesIn(event: Buffer): Names {
  if (scanMembers(event, noMembers, depthMax)?.tooDeep === true) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: `The event nests deeper than ${depthMax} levels.` });
  }
  return namesInBody(event, true);
}
