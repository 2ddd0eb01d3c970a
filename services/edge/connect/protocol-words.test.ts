import { expect, test } from "vitest";
import { protocolQuery, protocolWord } from "./protocol-words.ts";

test.each([
  ["connect-timeout-ms", "5000", "5000x"],
  ["grpc-timeout", "5S", "5"],
  ["connect-protocol-version", "1", "2; x"],
  ["content-encoding", "gzip", "gz'"],
  ["connect-content-encoding", "identity", ""],
  ["grpc-encoding", "zstd", "GZIP "],
])("%s that the protocol has stays, and any other says nothing", (name, good, bad) => {
  expect(protocolWord(name, good)).toBe(good);
  expect(protocolWord(name, bad)).toBe("unknown");
});

test("other headers are the caller's own", () => {
  expect(protocolWord("x-weir-tags", "a=b'")).toBe("a=b'");
});

test("a query keeps its bytes unless it has a word that its protocol does not know", () => {
  const good = "?connect=v1&encoding=json&message=%7b%22a%22%3a+1%7d&compression=identity";
  expect(protocolQuery(good)).toBe(good);
  expect(protocolQuery("")).toBe("");
  const told = new URLSearchParams(protocolQuery("?connect=v2'&message=%7B%7D&compression=x"));
  expect(Object.fromEntries(told)).toEqual({ connect: "unknown", message: "{}", compression: "unknown" });
});
