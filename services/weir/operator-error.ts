/** Something that only the person at the terminal can mend. The message says what and how, and is all that they see. */
export class OperatorError extends Error {
  override readonly name = "OperatorError";
}
