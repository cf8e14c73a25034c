import { execFileSync } from "node:child_process";

/** So much code runs before a function is optimised: fifteen times as much as by default. */
const INTERRUPT_BUDGET = 1_000_000;

let flags: readonly string[] | undefined;

/**
 * Flags for a process that runs much code, none of it for long, while others keep
 * all cores busy. V8 optimises and collects on threads of its own, which have no
 * core for themselves then: optimising later and collecting on one thread takes a
 * seventh of the time off the fuzzer and a fifth off the tests of a layer. Node 22
 * has a second compiler that costs little and no longer knows the first flag; it
 * gains nothing by either. A search that crashes the same operation all day does
 * not either: it wants all that it runs optimised.
 */
export function sparingFlags(): readonly string[] {
  if (flags !== undefined) return flags;
  const known = execFileSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  const isKnown = known.includes("--interrupt-budget (");
  return (flags = isKnown ? [`--interrupt-budget=${INTERRUPT_BUDGET}`, "--single-threaded-gc"] : []);
}
