import { type Commands, runCli } from "./run-cli.ts";

/** What a shell says of a program that SIGPIPE ended; Node has no such end. */
const ENDED_BY_SIGPIPE = 141;

/** Runs one of the commands with the words of this process. */
export function main(commands: Commands): void {
  // Whoever read the answer has enough of it, as `head` has: an operation is done by then.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(ENDED_BY_SIGPIPE);
  });
  // Not awaited here: the bundle is CommonJS, which has no top-level await. `runCli` reports every error itself.
  void runCli(process.argv.slice(2), commands).then((code) => {
    process.exitCode = code;
  });
}
