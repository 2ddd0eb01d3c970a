/** The folder's name, and the key of `GenerateRequest.extensions`. */
export const dialectName = "openai-responses";
