import { create } from "@bufbuild/protobuf";
import { CitationSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect, test } from "vitest";
import { readCitations, writeGrounding } from "./grounding.ts";

const chunks = [
  { web: { uri: "https://a.example", title: "A", domain: "a" } },
  { retrievedContext: { uri: "gs://b/c", title: "C" } },
];
const support = (segment: object, ...groundingChunkIndices: unknown[]) => ({ segment, groundingChunkIndices });

test("each source of each span is a citation, counted in code points", () => {
  const found = readCitations(
    { groundingChunks: chunks, groundingSupports: [support({ startIndex: 9, endIndex: 13, text: "text" }, 0, 1)] },
    undefined,
    ["other", "😀 € text"],
  );
  expect(found).toMatchObject([
    { text: 1, citation: { start: 4, end: 8, title: "A", url: "https://a.example", quote: "text" } },
    { text: 1, citation: { start: 4, end: 8, title: "C", url: "gs://b/c", quote: "text" } },
  ]);
});

test.each(["citationSources", "citations"])("sources under %s, as one of the two APIs has them", (name) => {
  const metadata = { [name]: [{ startIndex: 1, endIndex: 3, uri: "https://a.example", license: "mit" }] };
  expect(readCitations(undefined, metadata, ["abcd"])).toMatchObject([
    { text: 0, citation: { start: 1, end: 3, url: "https://a.example", title: "" } },
  ]);
});

test.each<[string, unknown]>([
  ["a text", "x"],
  ["supports that are none", { groundingChunks: chunks, groundingSupports: "x" }],
  ["a chunk that is not there", { groundingChunks: chunks, groundingSupports: [support({}, 9, "x", null)] }],
  ["a chunk of nothing", { groundingChunks: [{}], groundingSupports: [support({}, 0)] }],
])("nothing is found in %s", (_, grounding) => {
  expect(readCitations(grounding, null, ["a"])).toEqual([]);
});

test("for clients, spans are counted in bytes", () => {
  const citation = create(CitationSchema, { start: 2, end: 4, title: "T", url: "u", quote: "q" });
  expect(writeGrounding([{ part: 3, citation }], new Map([[3, "😀€xyz"]]))).toEqual({
    groundingChunks: [{ web: { uri: "u", title: "T" } }],
    groundingSupports: [{ segment: { startIndex: 7, endIndex: 9, text: "q" }, groundingChunkIndices: [0] }],
  });
});
