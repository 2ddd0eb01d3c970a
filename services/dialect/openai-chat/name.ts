/** The key of this dialect in `GenerateRequest.extensions`, and its name in warnings. */
export const dialectName = "openai-chat";
