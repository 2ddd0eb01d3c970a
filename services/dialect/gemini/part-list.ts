import type { JsonObject } from "../json.ts";

/** The parts of one content of the model's, while it is written. */
export interface PartList {
  readonly parts: readonly JsonObject[];
  /** Adds a part. @param takesSignature whether a signature that follows belongs to it */
  add(part: JsonObject, takesSignature?: boolean): void;
  /** Adds a signature: to the part before it, else in a part of its own. */
  sign(thoughtSignature: string): void;
}

export function createPartList(): PartList {
  const parts: JsonObject[] = [];
  let isBearer = false;
  return {
    parts,
    add(part, takesSignature = false) {
      parts.push(part);
      isBearer = takesSignature;
    },
    sign(thoughtSignature) {
      const bearer = isBearer ? parts.pop() : { text: "" };
      parts.push({ ...bearer, thoughtSignature });
      isBearer = false;
    },
  };
}
