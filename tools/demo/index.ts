/** `npm run demo`: what qcowal is for, in half a minute, without qemu. `--keep` leaves the image behind. */
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { explain, headline, verdict } from "./narrator.ts";
import {
  IMAGE,
  type Stage,
  check,
  hasQemu,
  install,
  killDuring,
  makeDisk,
  qcowal,
  showFenced,
} from "./stage.ts";

async function play(stage: Stage): Promise<void> {
  headline("A disk with two snapshots");
  await makeDisk(stage);
  explain(`Made ${IMAGE} (64 MiB, a plain qcow2 file) with the project's own image maker.`);
  await install(stage, "release 1");
  qcowal(stage, "create", "release-1", IMAGE, "--reason", "first release");
  await install(stage, "release 2");
  qcowal(stage, "create", "release-2", IMAGE);
  await install(stage, "a broken release 3");
  qcowal(stage, "list", IMAGE);

  headline("Killed in the middle of a revert, after it was decided");
  killDuring(stage, { type: "revert", image: IMAGE, name: "release-1" }, "lower");
  showFenced(stage);

  headline("Recovery finishes it from the journal");
  verdict(qcowal(stage, "recover", IMAGE) === 0, "every step that was missing has been applied");
  await check(stage, "release 1");

  headline("Killed in the middle of a delete, before it was decided");
  killDuring(stage, { type: "delete", image: IMAGE, name: "release-2" }, "commit");
  showFenced(stage);

  headline("Recovery proves that it never began");
  verdict(qcowal(stage, "recover", IMAGE) === 0, "what had been reserved was given back");
  verdict(qcowal(stage, "list", IMAGE) === 0, "both snapshots are there");
  await check(stage, "release 1");

  headline("The same delete once more, undisturbed");
  verdict(qcowal(stage, "delete", "release-2", IMAGE) === 0, "deleted, its clusters are free");
  await check(stage, "release 1");

  headline("Who did what, and how it ended");
  qcowal(stage, "history", IMAGE);
}

const dir = await realpath(await mkdtemp(join(tmpdir(), "qcowal-demo-")));
const isKept = process.argv.includes("--keep");
try {
  await play({ dir, hasQemu: hasQemu() });
  console.log("\nTwo kills, one finished, one undone, no cluster leaked. Now with an image of yours:");
  console.log("   npx qcowal create NAME IMAGE");
} finally {
  if (isKept) console.log(`\nThe image and its journal are in ${dir}`);
  else await rm(dir, { recursive: true, force: true });
}
