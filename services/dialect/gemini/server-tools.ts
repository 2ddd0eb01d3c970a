/**
 * Tools that Google runs itself: members of `Tool` that hold an object. A further one, `mcpServers`, holds a list and becomes
 * one tool for each server. https://ai.google.dev/api/caching#Tool and
 * https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Tool
 */
export const serverToolTypes = [
  "googleSearch",
  "googleSearchRetrieval",
  "googleMaps",
  "codeExecution",
  "urlContext",
  "fileSearch",
  "computerUse",
  "enterpriseWebSearch",
  "retrieval",
  "exaAiSearch",
  "parallelAiSearch",
] as const;
