#!/usr/bin/env node
/**
 * What the shell starts: `dist/qcowal.cjs`. Runs the bundle of the command that
 * is called, from its code cache where that fits: to compile the source takes
 * longer than to list the snapshots of an image. Nothing else is in here, since
 * all of it is compiled at every start.
 */
import { createRequire } from "node:module";
import { Script } from "node:vm";
import { readBundle } from "./bundle.ts";
import { bundleFor } from "./groups/groups.ts";

type ModuleFunction = (
  exports: object,
  require: NodeJS.Require,
  module: object,
  file: string,
  dir: string,
) => void;

const { file, source, code } = readBundle(__dirname, bundleFor(process.argv.slice(2)));
// ASCII, which takes a tenth of the time in this encoding.
const script = new Script(source.toString("latin1"), { filename: file, cachedData: code });
const run = script.runInThisContext() as ModuleFunction;
run({}, createRequire(file), { exports: {} }, file, __dirname);
