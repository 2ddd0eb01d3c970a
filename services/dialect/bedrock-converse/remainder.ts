import { requiredObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";

/** The members of an object, taken out one by one as they are understood. */
export interface Remainder {
  /** A member that stays; undefined for one that is absent or null. */
  peek(name: string): unknown;
  /** A member that is understood: it goes. */
  take(name: string): unknown;
  /**
   * An object whose members are taken out in turn; empty when it is absent.
   * @throws WeirError INVALID_REQUEST when it is no object
   */
  open(name: string): Remainder;
  /** What nobody has taken, with what is left of the objects that were opened. */
  rest(): JsonObject;
}

export function createRemainder(members: JsonObject): Remainder {
  const left = new Map(Object.entries(members));
  const opened = new Map<string, Remainder>();

  function take(name: string): unknown {
    const value = left.get(name);
    left.delete(name);
    return value ?? undefined;
  }

  return {
    peek: (name) => left.get(name) ?? undefined,
    take,
    open(name) {
      const value = take(name);
      const inner = createRemainder(value === undefined ? {} : requiredObject(value, name));
      opened.set(name, inner);
      return inner;
    },
    rest() {
      const rest = new Map(left);
      for (const [name, inner] of opened) {
        const members = inner.rest();
        if (Object.keys(members).length > 0) rest.set(name, members);
      }
      return Object.fromEntries(rest);
    },
  };
}
