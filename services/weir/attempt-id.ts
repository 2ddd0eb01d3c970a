import { getRandomValues } from "node:crypto";
import { V7Generator } from "uuidv7";

/** Random numbers drawn at once: one system call for some five hundred ids. */
const drawn = new Uint32Array(1_024);

/** Creates what makes ids of attempts: UUIDs of version 7, in rising order within this process. */
export function createAttemptIds(): () => string {
  let next = drawn.length;
  const generator = new V7Generator({
    nextUint32() {
      if (next === drawn.length) {
        getRandomValues(drawn);
        next = 0;
      }
      const number = drawn[next] as number;
      // Nobody who reads this memory later learns an id from it.
      drawn[next] = 0;
      next += 1;
      return number;
    },
  });
  return () => generator.generate().toString();
}
