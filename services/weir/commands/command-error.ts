/** A command cannot go on; the message says why and what to do, and is all that a person sees. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}
