#!/usr/bin/env node
/**
 * What the shell starts: `dist/qcowal.cjs`. Runs the command that lies beside it,
 * from its code cache where that fits: to compile the source takes longer than
 * to list the snapshots of an image. Nothing else is in here, since all of it is
 * compiled at every start.
 */
import { readFileSync } from "node:fs";
import { Module, createRequire } from "node:module";
import { join } from "node:path";
import { Script } from "node:vm";
import { cachedCode } from "./code-cache.ts";

type ModuleFunction = (
  exports: object,
  require: NodeJS.Require,
  module: object,
  file: string,
  dir: string,
) => void;

const dir = __dirname;
const file = join(dir, "command.cjs");
const cachedData = cachedCode(dir);
if (cachedData === undefined) {
  // Also the way of Node's own cache (NODE_COMPILE_CACHE), which works for what Node loads.
  createRequire(__filename)(file);
} else {
  const module = { exports: {} };
  const script = new Script(Module.wrap(readFileSync(file, "utf8")), { filename: file, cachedData });
  const run = script.runInThisContext() as ModuleFunction;
  run(module.exports, createRequire(file), module, file, dir);
}
