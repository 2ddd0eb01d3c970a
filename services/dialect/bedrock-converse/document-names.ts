/** Names for the documents of one request: Bedrock allows few characters and no name twice. */
export interface DocumentNames {
  /** The name for the next document. @param filename what it is called elsewhere; may be empty */
  next(filename: string): string;
}

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html: at most 200 characters.
const lengthMax = 190;

/**
 * Creates the names of one request. A name that Bedrock allows stays as it is; else the extension goes, each run of other
 * characters becomes a hyphen, and a name that is taken gets a number. The same request always gets the same names.
 */
export function createDocumentNames(): DocumentNames {
  const taken = new Set<string>();
  return {
    next(filename) {
      const wanted = allowed(filename);
      let name = wanted;
      // Bedrock compares without regard to case.
      for (let count = 2; taken.has(name.toLowerCase()); count += 1) name = `${wanted}-${count}`;
      taken.add(name.toLowerCase());
      return name;
    },
  };
}

function allowed(filename: string): string {
  const name = filename
    .replace(/\.[A-Za-z0-9]{1,5}$/, "")
    .replace(/[^A-Za-z0-9\s\-()[\]]+/g, "-")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, lengthMax)
    .trimEnd();
  return name === "" || name === "-" ? "document" : name;
}
