/** Counts the output of a stream for the case that its provider never reports it. */
export interface OutputCount {
  /** Events with content so far. */
  events(): number;
  /** The guess; see `ChatStreamReader.outputTokens`. */
  tokens(): number;
  /**
   * One more event with content, that nobody has looked into.
   * @param contentBytes looks; called for one event in sixteen, undefined when nothing can be seen
   */
  unread(contentBytes: () => number | undefined): void;
  /** One more event with content, read; `typical` when others are likely to be like it. */
  read(contentBytes: number, typical: boolean): void;
}

const sampleEvery = 16;

/** An event of up to so many bytes is one token of a slow stream, rather than several tokens of a fast one. */
const oneTokenBytes = 12;

export function createOutputCount(): OutputCount {
  let events = 0;
  let readTokens = 0;
  let typicalEvents = 0;
  let typicalTokens = 0;
  let unreadEvents = 0;

  function read(contentBytes: number, typical: boolean): void {
    const tokens = contentBytes === 0 ? 0 : contentBytes <= oneTokenBytes ? 1 : Math.ceil(contentBytes / 4);
    readTokens += tokens;
    if (!typical) return;
    typicalEvents += 1;
    typicalTokens += tokens;
  }

  return {
    events: () => events,
    tokens: () =>
      Math.round(readTokens + (typicalEvents === 0 ? unreadEvents : (unreadEvents * typicalTokens) / typicalEvents)),
    unread(contentBytes) {
      events += 1;
      const bytes = events % sampleEvery === 0 ? contentBytes() : undefined;
      if (bytes === undefined) unreadEvents += 1;
      else read(bytes, true);
    },
    read(contentBytes, typical) {
      events += 1;
      read(contentBytes, typical);
    },
  };
}
