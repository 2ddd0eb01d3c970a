import { create } from "@bufbuild/protobuf";
import { CallHeadSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import { expect, test } from "vitest";
import { unitsToHold } from "./units.ts";

test.each([
  [
    "images as many as are asked for",
    { endpoint: "images", path: "/images/generations", units: { images: 3 } },
    { images: 3 },
  ],
  [
    "speech by its characters",
    { endpoint: "audio", path: "/audio/speech", units: { characters: 12 } },
    { characters: 12 },
  ],
  [
    "a transcription as if its sound were of the lowest quality",
    { endpoint: "audio", path: "/audio/transcriptions", bodyBytes: 90_500n },
    { audio_seconds: 91 },
  ],
  [
    "one of unknown length as the longest that is taken",
    { endpoint: "audio", path: "/audio/translations" },
    { audio_seconds: 26_215 },
  ],
  [
    "rerank by the length of its documents",
    { endpoint: "rerank", path: "/rerank", bodyBytes: 9_000n },
    { search_units: 4 },
  ],
  ["nothing for files", { endpoint: "files", path: "/files", bodyBytes: 9_000n }, {}],
])("money is set aside for %s", (_name, head, units) => {
  expect(unitsToHold(create(CallHeadSchema, head))).toEqual(units);
});
