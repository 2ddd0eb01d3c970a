import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

const timeoutMs = 300_000;

/**
 * Installs what the tests of local models need, where it is missing. They fail without it: nothing is skipped.
 * @param root of the repository
 * @returns what is there, for people
 */
export async function installLocal(root: string): Promise<string> {
  const folder = join(root, "services/local");
  if (existsSync(join(folder, "node_modules/node-llama-cpp/package.json"))) return "local models: installed";
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"] ?? ""}` };
  try {
    await promisify(execFile)("npm", ["run", "--silent", "local:install"], { cwd: root, env, timeout: timeoutMs });
    return "local models: now installed";
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    return (
      `local models: \`npm run local:install\` failed (${code}), so that the tests of services/local will fail; ` +
      "it fetches node-llama-cpp from npm's registry, 117 MB on disk"
    );
  }
}
