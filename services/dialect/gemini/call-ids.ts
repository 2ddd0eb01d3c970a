/** The ids of the calls of one conversation. The API lets them be absent, and then pairs results with calls by name and order. */
export interface CallIds {
  /** The id of a call: its own, else one made of its place in the conversation, so that a longer one has the same. */
  call(id: string | undefined, name: string): string;
  /** The id of the call that a result belongs to: its own, else that of the first call of this name without a result. */
  result(id: string | undefined, name: string): string;
}

/** @param given ids that stand anywhere in the conversation; none of them is made again */
export function createCallIds(given: ReadonlySet<string>): CallIds {
  const open: { readonly id: string; readonly name: string }[] = [];
  let made = 0;

  function make(): string {
    for (;;) {
      const id = `call-${made}`;
      made += 1;
      if (!given.has(id)) return id;
    }
  }

  return {
    call(given_, name) {
      const id = given_ ?? make();
      open.push({ id, name });
      return id;
    },
    result(given_, name) {
      const at = open.findIndex((call) => (given_ === undefined ? call.name === name : call.id === given_));
      const [call] = at < 0 ? [] : open.splice(at, 1);
      return given_ ?? call?.id ?? make();
    },
  };
}
