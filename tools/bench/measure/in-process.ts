/** Runs an operation through the API on copies of an image, and prints the seconds of each as JSON. */
import { dirname, join } from "node:path";
import { type Operation, checkImage, listSnapshots, openPool } from "../../../src/index.ts";

const [what = "", snapshot = "", ...images] = process.argv.slice(2);
const journal = join(dirname(images[0] ?? ""), ".qcowal");

async function timed(action: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await action();
  return (performance.now() - started) / 1000;
}

function operation(image: string): Operation {
  if (what === "create") return { type: what, image, name: snapshot };
  if (what === "revert" || what === "delete") return { type: what, image, name: snapshot };
  throw new TypeError(`no operation: ${what}`);
}

const seconds: number[] = [];
if (what === "list" || what === "check") {
  const read = what === "list" ? listSnapshots : checkImage;
  for (const image of images) seconds.push(await timed(() => read(image)));
} else {
  const pool = await openPool(journal);
  for (const image of images) seconds.push(await timed(() => pool.run([operation(image)])));
  await pool.close();
}
console.log(JSON.stringify(seconds));
