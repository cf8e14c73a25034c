#!/usr/bin/env node
import { runCli } from "./run-cli.ts";

// Not awaited here: the bundle is CommonJS, which has no top-level await. `runCli` reports every error itself.
void runCli(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
