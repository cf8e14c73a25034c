import { readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { run } from "./programs.ts";

const root = resolve(import.meta.dirname, "../..");
const MAIN = join(root, "dist/qcowal.cjs");
export const API = join(root, "dist/src/index.js");

function newest(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).reduce(
    (latest, name) => Math.max(latest, statSync(join(directory, name)).mtimeMs),
    0,
  );
}

/** The command is tested as it is installed: compiled. `npm test` builds it first. */
export function requireBuiltCommand(): void {
  const sources = Math.max(newest(join(root, "src")), newest(join(root, "journal")));
  const built = statSync(MAIN, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built < sources) throw new Error("the compiled command is older than its sources: npm run build");
}

export const cli = (...args: readonly string[]): string[] => [process.execPath, MAIN, ...args];

/** A transaction of several different operations, which the command line has no words for. */
export function script(journal: string, operations: readonly unknown[]): string[] {
  const source =
    "const [api, journal, operations] = process.argv.slice(1);" +
    "const { openPool } = await import(api);" +
    "const pool = await openPool(journal, { program: 'script' });" +
    "await pool.run(JSON.parse(operations));" +
    "await pool.close();";
  return [process.execPath, "--input-type=module", "-e", source, API, journal, JSON.stringify(operations)];
}

export interface RecoverOutput {
  readonly recovered: readonly { readonly transaction: number; readonly result: "finished" | "aborted" }[];
  readonly failed: readonly unknown[];
}

export interface HistoryOutput {
  readonly transaction: number;
  readonly status: string;
}

async function json<T>(args: readonly string[]): Promise<T> {
  const [program = "", ...rest] = cli(...args, "--json");
  const { code, signal, stdout, stderr } = await run(program, rest);
  if (code !== 0)
    throw new Error(`qcowal ${args.join(" ")} ended with ${code ?? signal}:\n${stderr}${stdout}`);
  return JSON.parse(stdout) as T;
}

export const recover = (journal: string, images: readonly string[]): Promise<RecoverOutput> =>
  json(["recover", "--journal", journal, ...images]);

/** A kill may come before there is a journal to ask. */
export async function history(journal: string): Promise<readonly HistoryOutput[]> {
  try {
    return await json(["history", "--journal", journal]);
  } catch (error) {
    if (error instanceof Error && error.message.includes("JOURNAL_NOT_FOUND")) return [];
    throw error;
  }
}
