/** Names on the bus that carries usage from the journals to the ledger. Metering makes the stream; journals publish to it. */
export const usageStream = {
  name: "WEIR_USAGE",
  /** Batches, each an encoded UsageBatch: `weir.usage.v1.<journal id>`. */
  subjects: ["weir.usage.v1.*"],
  subjectPrefix: "weir.usage.v1.",
  durable: "ledger",
  /** Where commits are told: `weir.watermark.v1.<journal id>`, an encoded Watermark on core NATS. */
  watermarkPrefix: "weir.watermark.v1.",
  /** Answers an encoded GetWatermarkRequest with an encoded Watermark; is silent while the store is away. */
  watermarkRequests: "weir.watermark.v1.get",
} as const;
