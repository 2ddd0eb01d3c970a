import { afterEach } from "vitest";
import type { OpenWay, Way } from "./ways.ts";

/** Opens ways for the tests of a `describe`, and closes them after each. */
export function opening(openWay: OpenWay): OpenWay {
  const opened: Way[] = [];
  afterEach(async () => {
    for (const way of opened.splice(0)) await way.close();
  });
  return async (handlers, options) => {
    const way = await openWay(handlers, options);
    opened.push(way);
    return way;
  };
}
