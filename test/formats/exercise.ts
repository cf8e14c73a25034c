/**
 * Works through everything that qcowal does to an image, judged by the qemu
 * tools, and beside qemu-img on a twin.
 */
import { copyFile, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { toJson } from "../../src/cli/json.ts";
import { qemuJson } from "../../src/cli/views/qemu-snapshots.ts";
import { type Pool, isQcowalError, openPool } from "../../src/index.ts";
import { SECRET } from "../interop/shapes.ts";
import { looks } from "../support/looks.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { patchFile } from "../support/patch-file.ts";
import {
  type Image,
  judge,
  qemuCheck,
  rawDigest,
  snapshotApply,
  snapshotCreate,
  snapshotDelete,
  snapshotList,
  tempDir,
} from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import type { Feature, Variant } from "./feature.ts";

const CODES = ["IMAGE_UNSUPPORTED", "IMAGE_DAMAGED"];

interface Subject {
  readonly feature: Feature;
  readonly variant: Variant;
  readonly path: string;
  readonly pool: Pool;
  readonly image: Image;
  readonly twin: Image;
}

export async function exercise(feature: Feature, variant: Variant): Promise<void> {
  const path = await variant.build(await tempDir(), seededRandom(1));
  const twinPath = join(dirname(path), "twin.qcow2");
  await copyFile(path, twinPath);
  const of = (file: string): Image => (variant.encrypted === true ? { path: file, secret: SECRET } : file);
  await using pool = await openPool(join(dirname(path), ".qcowal"));
  const subject: Subject = { feature, variant, path, pool, image: of(path), twin: of(twinPath) };
  await listAndCheck(subject);
  if (feature.createAndDelete === "refused") await refuseAll(subject);
  else {
    if (feature.createAndDelete === "after a repair") await refuseUntilRepaired(subject);
    await change(subject);
  }
}

/** Reading gives what qemu-img gives, and writes nothing. */
async function listAndCheck({ feature, variant, path, pool, image }: Subject): Promise<void> {
  const bytes = await readFile(path);
  if (feature.listAndCheck === "refused") {
    await refused(subjectOf(path), () => pool.list(path));
    await refused(subjectOf(path), () => pool.check(path));
    expect((await qemuCheck(image)).errors).toBeGreaterThan(0);
    return;
  }
  expect(JSON.parse(toJson(qemuJson(await pool.list(path))))).toEqual(await snapshotList(image));
  const { corruptions, leaks, checkErrors } = await pool.check(path);
  const theirs = await qemuCheck(image);
  expect({ corruptions, leaks, errors: checkErrors }).toEqual({
    corruptions: theirs.corruptions,
    leaks: theirs.leaks,
    errors: theirs.errors,
  });
  expect(bytes.equals(await readFile(path))).toBe(true);
  await variant.after?.(path, false);
}

const subjectOf = (path: string) => async (): Promise<Buffer> => readFile(path);

async function refused(bytes: () => Promise<Buffer>, action: () => Promise<unknown>): Promise<void> {
  const before = await bytes();
  const error: unknown = await action().then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(isQcowalError(error) && CODES.includes(error.code), String(error)).toBe(true);
  expect(String(error)).toContain("Nothing was changed");
  expect(before.equals(await bytes())).toBe(true);
}

async function refuseAll(subject: Subject): Promise<void> {
  const { feature, path, pool, twin } = subject;
  const bytes = subjectOf(path);
  await refused(bytes, () => pool.create(path, "ours"));
  await refused(bytes, () => pool.revert(path, "first"));
  await refused(bytes, () => pool.delete(path, "first"));
  expect([feature.revert, feature.repair]).toEqual(["refused", "refused"]);
  await refused(bytes, () => pool.repair(path));
  await expect(snapshotCreate(twin, "ours"), "qemu-img refuses as well").rejects.toThrow();
}

async function refuseUntilRepaired({ path, pool, image, twin }: Subject): Promise<void> {
  const bytes = subjectOf(path);
  const [first] = await pool.list(path);
  await refused(bytes, () => pool.create(path, "ours"));
  await refused(bytes, () => pool.revert(path, { id: first?.id ?? "" }));
  await refused(bytes, () => pool.delete(path, { id: first?.id ?? "" }));
  await pool.repair(path);
  await judge(image);
  await copyFile(path, typeof twin === "string" ? twin : twin.path);
}

async function change(subject: Subject): Promise<void> {
  const { feature, variant, path, pool, image, twin } = subject;
  const done = async (): Promise<void> => {
    await judge(image);
    await variant.after?.(path, true);
  };
  const before = await looks(image);
  const first = { id: before.snapshots[0]?.id ?? "" };
  const last = String(Math.max(...before.snapshots.map(({ id }) => Number(id))) + 1);

  await pool.create(path, "ours");
  await snapshotCreate(twin, "ours");
  await done();
  const created = await looks(image);
  expect(created).toMatchObject({
    virtualSize: before.virtualSize,
    active: before.active,
    contents: [...before.contents, expect.anything()],
    snapshots: [...before.snapshots, { id: last, name: "ours" }],
  });
  let reverted = created;
  if (feature.revert === "refused") await revertRefused(subject, first);
  else {
    reverted = await revert(subject, first, before, created);
    await done();
  }
  expect(reverted).toEqual(await looks(twin));

  await flipCopiedFlag(path);
  expect((await qemuCheck(image)).code, "damaged").toBe(2);
  await pool.repair(path);
  await done();
  expect(await rawDigest(image)).toBe(reverted.active);

  await pool.delete(path, { id: last });
  await pool.delete(path, first);
  await snapshotDelete(twin, "ours");
  await snapshotDelete(twin, before.snapshots[0]?.name ?? "");
  await done();
  expect(await looks(image)).toEqual(await looks(twin));
}

type Looks = Awaited<ReturnType<typeof looks>>;

/** Reverts both twins, and tells how ours looks then. */
async function revert(
  { variant, path, pool, image, twin }: Subject,
  first: { readonly id: string },
  before: Looks,
  created: Looks,
): Promise<Looks> {
  await pool.revert(path, first);
  const reverted = await looks(image);
  expect(reverted.snapshots).toEqual(created.snapshots);
  // The qemu tools do not show the content of a snapshot under encryption, nor one of another size as it is.
  if (variant.encrypted !== true && reverted.virtualSize === before.virtualSize) {
    expect(reverted.active).toBe(before.contents[0]);
    expect(reverted.contents).toEqual(created.contents);
  }
  if (variant.qemuCannotRevert === true) {
    await expect(snapshotApply(twin, first.id)).rejects.toThrow();
    await copyFile(path, typeof twin === "string" ? twin : twin.path);
  } else await snapshotApply(twin, first.id);
  return reverted;
}

async function revertRefused({ path, pool, twin }: Subject, first: { readonly id: string }): Promise<void> {
  await refused(subjectOf(path), () => pool.revert(path, first));
  await expect(snapshotApply(twin, first.id), "qemu-img refuses as well").rejects.toThrow();
}

/** Of the first L2 table: what a killed qemu-img leaves. */
async function flipCopiedFlag(path: string): Promise<void> {
  const bytes = new Uint8Array(await readFile(path));
  const { l1Offset, l1Size } = inspectImage(bytes).active;
  const view = new DataView(bytes.buffer);
  for (let at = l1Offset; at < l1Offset + 8 * l1Size; at += 8) {
    if (view.getBigUint64(at) === 0n) continue;
    await patchFile(path, at, Uint8Array.of((bytes[at] ?? 0) ^ 0x80));
    return;
  }
  throw new Error(`${path} has no L2 table`);
}
