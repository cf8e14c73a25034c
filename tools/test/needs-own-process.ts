import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** What puts modules in the place of others, or reads them again. */
const SWAPS = /\bvi\.(?:mock|doMock|resetModules)\(/;
/** What changes or measures the process that a test runs in. */
const WHOLE_PROCESS =
  /\bvi\.(?:stubEnv|stubGlobal|useFakeTimers)\(|\bprocess\.(?:memoryUsage|resourceUsage|cpuUsage|chdir|umask)\b|\/proc\/self\b/;
const IMPORTS = /\bfrom\s+"(\.[^"]+\.ts)"/g;

/**
 * True when a test file, or what it imports of the tests, swaps modules or is
 * about the whole process: no other file may run in that process before or after.
 */
export function needsOwnProcess(file: string, tests: string, seen = new Set<string>()): boolean {
  if (seen.has(file) || !file.startsWith(`${tests}/`) || !existsSync(file)) return false;
  seen.add(file);
  const text = readFileSync(file, "utf8");
  if (SWAPS.test(text) || WHOLE_PROCESS.test(text)) return true;
  return [...text.matchAll(IMPORTS)].some(([, path = ""]) =>
    needsOwnProcess(resolve(dirname(file), path), tests, seen),
  );
}
