import { expect, test } from "vitest";
import { isStoredAtGemini } from "./stored-file.ts";

test.each([
  "https://generativelanguage.googleapis.com/v1beta/files/abc",
  "HTTPS://GenerativeLanguage.GoogleAPIs.com/v1beta/files/abc",
  " https://generativelanguage.googleapis.com./files/abc",
  "https://user@%67enerativelanguage.googleapis.com:443/v1beta/files/abc",
  "https:\\\\generativelanguage.googleapis.com\\v1beta\\files\\abc",
  "https://eu-generativelanguage.googleapis.com/v1beta/files/abc",
  "https://generativelanguage.mtls.googleapis.com/v1beta/files/abc",
  "files/abc",
  "abc",
  "//generativelanguage.googleapis.com/v1beta/files/abc",
  "",
])("what %j names is kept by Gemini", (uri) => {
  expect(isStoredAtGemini(uri)).toBe(true);
});

test.each([
  "https://example.com/a.pdf",
  "https://example.com/?u=https://generativelanguage.googleapis.com/v1beta/files/abc",
  "https://generativelanguage.googleapis.com.example.com/files/abc",
  "https://www.youtube.com/watch?v=abc",
  "https://storage.googleapis.com/bucket/a.pdf",
  "gs://bucket/files/a.pdf",
])("%s is an address", (uri) => {
  expect(isStoredAtGemini(uri)).toBe(false);
});
