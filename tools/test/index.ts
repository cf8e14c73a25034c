/**
 * Runs the tests: `npm test`, or `npm test -- test/format` for some of them.
 * Installs the programs they need, and ends with a line "N passed, N failed".
 */
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type TestModule, startVitest } from "vitest/node";
import { leanEnvironment } from "../lean-environment.ts";
import { sparingFlags } from "../sparing-flags.ts";
import { needsOwnProcess } from "./needs-own-process.ts";
import { SearchesFirst } from "./searches-first.ts";
import { ensureSystemPackages } from "./system-packages.ts";

const root = resolve(import.meta.dirname, "../..");

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

function count(modules: readonly TestModule[]): Totals {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  for (const module of modules) {
    // A file that cannot even be loaded has no tests to count: it is one failure.
    if (module.state() === "failed" && module.children.size === 0) totals.failed += 1;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") totals.passed += 1;
      else if (state === "failed") totals.failed += 1;
      else totals.skipped += 1;
    }
  }
  return totals;
}

leanEnvironment();
ensureSystemPackages();
// Some tests run the command as it is installed: compiled.
execFileSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: "inherit" });
const tests = join(root, "test");
const alone = readdirSync(tests, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => join(tests, name))
  .filter((file) => needsOwnProcess(file, tests));
const common = {
  root,
  // What a search makes, it forgets at once: with room for it, the collector copies a fifth less. Short tests do not use it.
  execArgv: ["--max-semi-space-size=64", ...sparingFlags()],
  testTimeout: 120_000,
  hookTimeout: 120_000,
  setupFiles: [join(tests, "support/compare-bytes.ts")],
};
const vitest = await startVitest("test", process.argv.slice(2), {
  root,
  config: false,
  watch: false,
  // More than there are cores: a test waits for a sync, or for a program that it started, almost half of its time.
  maxWorkers: availableParallelism() * 2,
  sequence: { sequencer: SearchesFirst },
  reporters: ["default"],
  projects: [
    // A process for each file would spend a third of its time on reading and compiling the same modules again.
    {
      test: { ...common, name: "together", isolate: false, include: ["test/**/*.test.ts"], exclude: alone },
    },
    { test: { ...common, name: "alone", include: alone } },
  ],
});
const totals = count(vitest.state.getTestModules());
const errors = vitest.state.getUnhandledErrors().length;
await vitest.close();
// In CI a test that did not run is as bad as one that failed.
const skippedCount = process.env["CI"] === "true" ? totals.skipped : 0;
const failed = totals.failed + errors + skippedCount + (totals.passed + totals.failed === 0 ? 1 : 0);
const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : "";
console.log(`${totals.passed} passed, ${failed} failed${skipped}`);
process.exitCode = failed === 0 ? 0 : 1;
