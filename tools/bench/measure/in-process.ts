/** Runs an operation through the API on copies of an image, and prints the seconds of each as JSON. */
import { dirname, join } from "node:path";
import { checkImage, listSnapshots, openPool } from "../../../src/index.ts";
import { type Change, operationsOn } from "../operations.ts";

const [what = "", changes = "", ...images] = process.argv.slice(2);
const journal = join(dirname(images[0] ?? ""), ".qcowal");

async function timed(action: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await action();
  return (performance.now() - started) / 1000;
}

const seconds: number[] = [];
if (what === "list" || what === "check") {
  const read = what === "list" ? listSnapshots : checkImage;
  for (const image of images) seconds.push(await timed(() => read(image)));
} else {
  const pool = await openPool(journal);
  const wanted = JSON.parse(changes) as Change[];
  for (const image of images) {
    // A service knows its images: where a new one comes from is asked once.
    await pool.create(image, "known");
    await pool.delete(image, "known");
    seconds.push(await timed(() => pool.run(operationsOn(image, wanted))));
  }
  await pool.close();
}
console.log(JSON.stringify(seconds));
