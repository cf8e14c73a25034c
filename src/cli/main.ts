import { runCli } from "./run-cli.ts";

/** What a shell says of a program that SIGPIPE ended; Node has no such end. */
const ENDED_BY_SIGPIPE = 141;

// Whoever read the answer has enough of it, as `head` has: an operation is done by then.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(ENDED_BY_SIGPIPE);
});

// Not awaited here: the bundle is CommonJS, which has no top-level await. `runCli` reports every error itself.
void runCli(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
