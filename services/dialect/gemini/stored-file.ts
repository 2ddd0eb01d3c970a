const hostShape = /(?:^|[.-])generativelanguage(?:\.[\w-]+)*\.googleapis\.com\.?$/;

/**
 * Whether a URI of a file leads to what Gemini's Files API keeps, which is read with the key of whoever asks, however its host is
 * written. What is no URI with a scheme may be the name of such a file. https://ai.google.dev/api/files
 */
export function isStoredAtGemini(uri: string): boolean {
  const url = URL.parse(uri);
  return url === null || hostShape.test(url.hostname.toLowerCase());
}
