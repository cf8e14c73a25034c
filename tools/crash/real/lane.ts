/** One of several processes that share the cases: it gets work from its parent until there is none. */
import type { CrashCase } from "./cases.ts";
import { type CaseOptions, runCase } from "./run-case.ts";

export interface LaneWork {
  readonly crashCase: CrashCase;
  readonly seed: number;
  readonly options: CaseOptions;
}

process.on("message", ({ crashCase, seed, options }: LaneWork) => {
  runCase(crashCase, seed, options).then(
    (report) => process.send?.(report),
    (error: unknown) => {
      console.error(crashCase.name, error);
      process.exit(1);
    },
  );
});
