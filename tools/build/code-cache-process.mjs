/**
 * Runs a bundle of the folder `dist` with several command lines, one after the
 * other in one process, and stores the code that V8 then has.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { Script } from "node:vm";

const [dist, name, lines] = process.argv.slice(2);
const { readBundle, storeCode } = await import(join(dist, "src/cli/bundle.js"));
const { file, source } = readBundle(dist, name);
const script = new Script(source.toString("latin1"), { filename: file });
const commands = JSON.parse(lines);
function next() {
  const words = commands.shift();
  if (words === undefined) {
    storeCode(dist, name, script.createCachedData());
    process.off("beforeExit", next);
    return;
  }
  if ((process.exitCode ?? 0) !== 0) process.exit();
  process.argv.splice(2, Infinity, ...words);
  script.runInThisContext()({}, createRequire(file), { exports: {} }, file, dist);
  // A command that waits for nothing would be the last.
  setImmediate(() => undefined);
}
process.on("beforeExit", next);
