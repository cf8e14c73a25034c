/**
 * Runs `command.cjs` of the folder `dist` with several command lines on an image,
 * one after the other in one process, and stores the code that V8 then has.
 */
import { readFileSync } from "node:fs";
import { Module, createRequire } from "node:module";
import { join } from "node:path";
import { Script } from "node:vm";

const [dist, image] = process.argv.slice(2);
const file = join(dist, "command.cjs");
const { storeCodeCache } = await import(join(dist, "src/cli/code-cache.js"));
const script = new Script(Module.wrap(readFileSync(file, "utf8")), { filename: file });
const commands = [
  ["create", "one", image],
  ["list", image],
  ["create", "two", image],
  ["revert", "one", image],
  ["delete", "two", image],
  ["check", image],
];
function next() {
  const words = commands.shift();
  if (words === undefined) {
    storeCodeCache(dist, script.createCachedData());
    process.off("beforeExit", next);
    return;
  }
  if ((process.exitCode ?? 0) !== 0) process.exit();
  process.argv.splice(2, Infinity, ...words);
  script.runInThisContext()({}, createRequire(file), { exports: {} }, file, dist);
}
process.on("beforeExit", next);
