import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";

export interface ModelQueueOptions<Model> {
  /** @returns the model in memory; what it throws is thrown to all who wait for the model */
  load(name: string): Promise<Model>;
  unload(model: Model): Promise<void>;
  /** Memory that a model needs, in bytes. */
  bytesOf(name: string): number;
  readonly memoryBytesMax: number;
  /** Models in memory at once. */
  readonly modelsMax: number;
  /** Requests that a model answers at once. */
  readonly placesMax: number;
  /** Requests that may wait. */
  readonly queueMax: number;
  /** Longest wait, loading included, in milliseconds. */
  readonly waitMs: number;
  readonly clock: Clock;
}

/** A place at a model that is in memory. */
export interface Place<Model> {
  readonly model: Model;
  /** Gives the place back; once. */
  release(): void;
}

/**
 * Lets requests to models that do not all fit into memory at once. They are served in the order in which they came, but that a
 * request whose model has a free place passes those whose model has none. One that needs another model in memory is passed by
 * nobody: the running requests end, an idle model goes, and its own comes, so that busy models cannot keep it out for ever.
 */
export interface ModelQueue<Model> {
  /**
   * Waits for a place at a model.
   * @throws WeirError OVERLOADED with a delay, when too many wait or it took too long; CallCancelled when `signal` fires
   */
  enter(name: string, signal: AbortSignal): Promise<Place<Model>>;
  /** Names of the models in memory. */
  loaded(): readonly string[];
  /** Turns away who waits, waits for who runs, and unloads all. */
  close(): Promise<void>;
}

interface Waiting<Model> {
  readonly name: string;
  resolve(place: Place<Model>): void;
  reject(error: unknown): void;
}

/** A model in memory, or on its way there or back. */
interface Shelf<Model> {
  readonly name: string;
  readonly bytes: number;
  /** Undefined while it is loaded and while it is unloaded. */
  model: Model | undefined;
  taken: number;
  lastUseMs: number;
}

const retryAfterMinMs = 1_000;
const retryAfterMaxMs = 60_000;
/** Weight of the newest request in the average of how long one holds its place. */
const newest = 0.2;

export function createModelQueue<Model>(options: ModelQueueOptions<Model>): ModelQueue<Model> {
  const { clock, placesMax, modelsMax, memoryBytesMax, queueMax, waitMs } = options;
  const waiting: Waiting<Model>[] = [];
  const shelves = new Map<string, Shelf<Model>>();
  const changes = new Set<Promise<void>>();
  let closing: Promise<void> | undefined;
  let onIdle: (() => void) | undefined;
  let holdMs = retryAfterMinMs;

  function overloaded(): WeirError {
    const retryAfterMs = (holdMs * (waiting.length + 1)) / placesMax;
    return new WeirError(ErrorReason.OVERLOADED, {
      retryAfterMs: Math.ceil(Math.min(Math.max(retryAfterMs, retryAfterMinMs), retryAfterMaxMs)),
    });
  }

  async function enter(name: string, signal: AbortSignal): Promise<Place<Model>> {
    if (signal.aborted) throw new CallCancelled();
    if (closing !== undefined || waiting.length >= queueMax + freePlaces(name)) throw overloaded();
    const { promise, resolve, reject } = Promise.withResolvers<Place<Model>>();
    const entry: Waiting<Model> = { name, resolve, reject };
    const leave = (error: unknown) => {
      const index = waiting.indexOf(entry);
      if (index === -1) return;
      waiting.splice(index, 1);
      reject(error);
      // It may have kept others waiting for a change of models.
      serve();
    };
    const stopTimer = clock.after(waitMs, () => leave(overloaded()));
    const onAbort = () => leave(new CallCancelled());
    signal.addEventListener("abort", onAbort, { once: true });
    waiting.push(entry);
    serve();
    try {
      return await promise;
    } finally {
      stopTimer();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Places that a request would find at once: who takes one does not wait. Nor does it count as waiting to be the first who needs a model. */
  function freePlaces(name: string): number {
    if (waiting.some((other) => !shelves.has(other.name))) return 0;
    const shelf = shelves.get(name);
    if (shelf === undefined) return 1;
    return shelf.model === undefined ? 0 : placesMax - shelf.taken;
  }

  /** Gives places to those who can have one now. */
  function serve(): void {
    for (const entry of waiting.slice()) {
      const shelf = shelves.get(entry.name);
      if (shelf === undefined) {
        if (!makeRoom(entry.name)) return;
        load(entry.name);
      } else if (shelf.model !== undefined && shelf.taken < placesMax) {
        waiting.splice(waiting.indexOf(entry), 1);
        entry.resolve(take(shelf, shelf.model));
      }
    }
  }

  function take(shelf: Shelf<Model>, model: Model): Place<Model> {
    shelf.taken += 1;
    const startMs = clock.monotonic();
    let released = false;
    return {
      model,
      release() {
        if (released) return;
        released = true;
        shelf.taken -= 1;
        shelf.lastUseMs = clock.monotonic();
        holdMs += newest * (shelf.lastUseMs - startMs - holdMs);
        serve();
        onIdle?.();
      },
    };
  }

  /** Whether a model can be loaded now. Where it can be after idle ones have gone, they go. */
  function makeRoom(name: string): boolean {
    const room = (without: readonly Shelf<Model>[]) => {
      const kept = [...shelves.values()].filter((shelf) => !without.includes(shelf));
      const bytes = kept.reduce((sum, shelf) => sum + shelf.bytes, options.bytesOf(name));
      return kept.length < modelsMax && (bytes <= memoryBytesMax || kept.length === 0);
    };
    if (room([])) return true;
    const idle = [...shelves.values()].filter((shelf) => shelf.model !== undefined && shelf.taken === 0);
    const oldestFirst = idle.toSorted((a, b) => a.lastUseMs - b.lastUseMs);
    const leaving: Shelf<Model>[] = [];
    while (!room(leaving)) {
      const next = oldestFirst.shift();
      if (next === undefined) return false;
      leaving.push(next);
    }
    for (const shelf of leaving) unload(shelf);
    return false;
  }

  function load(name: string): void {
    const shelf: Shelf<Model> = {
      name,
      bytes: options.bytesOf(name),
      model: undefined,
      taken: 0,
      lastUseMs: clock.monotonic(),
    };
    shelves.set(name, shelf);
    track(
      options.load(name).then(
        (model) => {
          shelf.model = model;
        },
        (error: unknown) => {
          shelves.delete(name);
          for (const entry of waiting.filter((other) => other.name === name)) {
            waiting.splice(waiting.indexOf(entry), 1);
            entry.reject(error);
          }
        },
      ),
    );
  }

  function unload(shelf: Shelf<Model>): void {
    const { model } = shelf;
    if (model === undefined) return;
    shelf.model = undefined;
    const gone = () => void shelves.delete(shelf.name);
    // What cannot be unloaded is forgotten all the same: nobody can use it any more.
    track(options.unload(model).then(gone, gone));
  }

  /** @param change never rejects */
  function track(change: Promise<void>): void {
    changes.add(change);
    void (async () => {
      await change;
      changes.delete(change);
      serve();
    })();
  }

  async function close(): Promise<void> {
    for (const entry of waiting.splice(0)) entry.reject(overloaded());
    while (changes.size > 0) await Promise.all(changes);
    const { promise, resolve } = Promise.withResolvers<void>();
    onIdle = () => {
      if ([...shelves.values()].every((shelf) => shelf.taken === 0)) resolve();
    };
    onIdle();
    await promise;
    for (const shelf of shelves.values()) unload(shelf);
    while (changes.size > 0) await Promise.all(changes);
  }

  return {
    enter,
    loaded: () => [...shelves.values()].filter((shelf) => shelf.model !== undefined).map((shelf) => shelf.name),
    close: () => (closing ??= close()),
  };
}
