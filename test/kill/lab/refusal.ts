import { readFile } from "node:fs/promises";
import assert from "node:assert/strict";
import { FENCE_TEXT } from "../../../src/format/index.ts";
import { run } from "../../support/programs.ts";
import { type ImageState, explainsItself } from "../../support/state.ts";

type Subcommand = (image: string) => readonly string[];

/** Readers and writers, one of each, for every point. */
const CHEAP: readonly Subcommand[] = [(image) => ["info", image], (image) => ["check", "-r", "all", image]];

/** Everything of qemu-img that opens an image; `-U` takes no lock, and the fence must hold without one. */
const ALL: readonly Subcommand[] = [
  ...CHEAP,
  (image) => ["info", "-U", image],
  (image) => ["check", image],
  (image) => ["check", "-r", "leaks", image],
  (image) => ["snapshot", "-l", image],
  (image) => ["snapshot", "-c", "intruder", image],
  (image) => ["snapshot", "-a", "1", image],
  (image) => ["snapshot", "-d", "1", image],
  (image) => ["map", image],
  (image) => ["convert", "-O", "raw", image, "/dev/null"],
  (image) => ["compare", image, image],
  (image) => ["resize", image, "+1M"],
  (image) => ["amend", "-f", "qcow2", "-o", "lazy_refcounts=on", image],
  (image) => ["rebase", "-u", "-b", "", image],
  (image) => ["commit", image],
  (image) => ["bitmap", "--add", image, "intruder"],
];

/** No qemu-img can open a fenced image, all say why where there is room to, and none changes a byte. */
export async function assertRefused(path: string, state: ImageState, thorough: boolean): Promise<void> {
  const explained = explainsItself(state);
  for (const subcommand of thorough ? ALL : CHEAP) {
    const args = subcommand(path);
    const { code, stderr, stdout } = await run("qemu-img", args);
    assert.ok(code !== 0, `qemu-img ${args.join(" ")} opened a fenced image`);
    const text = stdout + stderr;
    if (explained)
      assert.ok(text.includes(FENCE_TEXT), `qemu-img ${args.join(" ")} did not say why:\n${text}`);
  }
  assert.ok(state.bytes.equals(await readFile(path)), "qemu-img changed a fenced image");
}
