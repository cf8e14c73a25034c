/**
 * The same operations on twins: one image is worked on by us, the other by
 * qemu-img. After each step both must look the same to a guest.
 */
import { copyFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type Operation, type Pool, openPool } from "../../src/index.ts";
import { looks } from "../support/looks.ts";
import {
  type Image,
  info,
  io,
  judge,
  qemuCheck,
  requireQemu,
  snapshotApply,
  snapshotCreate,
  snapshotDelete,
  tempDir,
} from "../support/qemu.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { SECRET, type Shape, shapes } from "./shapes.ts";

beforeAll(requireQemu);

/** Two on every second of some sixty shapes, of which `shapes.test.ts` has each; a long run takes more, on all. */
const LONG = process.env["QCOWAL_TWIN_STEPS"];
const STEPS = Number(LONG ?? 2);
const SHAPES = LONG === undefined ? shapes.filter((_, index) => index % 2 === 0) : shapes;
const SEED = Number(process.env["QCOWAL_SEED"] ?? 1);

/** Up to 255 snapshots take 4 MiB each where clusters have 2 MiB: that their number is counted, those of one bit and two show. */
const isLarge = ({ name, maxSnapshots = 0 }: Shape): boolean => name.includes("2M") && maxSnapshots > 3;
const LIMITED = shapes.filter(
  (shape) => shape.maxSnapshots !== undefined && (LONG !== undefined || !isLarge(shape)),
);

interface Twins {
  readonly ours: string;
  readonly twin: string;
  readonly image: (path: string) => Image;
  readonly pool: Pool;
}

type Action = "create" | "revert" | "delete" | "rename" | "write";

async function perform(twins: Twins, shape: Shape, random: Random, step: number): Promise<string> {
  const { ours, twin, image, pool } = twins;
  const { snapshots = [], "virtual-size": size } = await info(image(ours));
  const names = snapshots.map(({ name }) => name);
  const unique = snapshots.filter(
    ({ name }) => names.filter((other) => other === name).length === 1 && name !== "",
  );
  const room = snapshots.length < (shape.maxSnapshots ?? 65_536);
  const actions: Action[] = ["write"];
  if (room) actions.push("create", "create");
  if (unique.length > 0) actions.push("delete", "rename");
  // qemu-img raises every refcount of a snapshot before it lowers those of the active layer: at the limit it fails.
  if (unique.length > 0 && room && shape.noRevert !== true) actions.push("revert", "revert");
  const action = step === 0 && room ? "create" : random.pick(actions);
  // What we created has to serve qemu-img as well, so it works on ours now and then.
  const byQemu = step > 0 && random.chance(0.25);
  const snapshot = unique.length === 0 ? undefined : random.pick(unique);
  switch (action) {
    case "write": {
      const length = 512 * (1 + random.int(40));
      const offset = 512 * random.int(Math.max(1, Math.floor((size - length) / 512)));
      const pattern = 1 + random.int(250);
      for (const path of [ours, twin]) await io(image(path), `write -P ${pattern} ${offset} ${length}`);
      return `write ${offset}+${length}`;
    }
    case "create":
      if (byQemu) await snapshotCreate(image(ours), `step ${step}`);
      else await pool.create(ours, `step ${step}`);
      await snapshotCreate(image(twin), `step ${step}`);
      return "create";
    case "revert":
      if (byQemu) await snapshotApply(image(ours), snapshot?.id ?? "");
      else await pool.revert(ours, { id: snapshot?.id ?? "" });
      await snapshotApply(image(twin), snapshot?.id ?? "");
      return `revert ${snapshot?.id}${byQemu ? " by qemu-img" : ""}`;
    case "rename":
      // qemu-img cannot: it is asked what it makes of an image in which it was done.
      for (const path of [ours, twin]) await pool.rename(path, { id: snapshot?.id ?? "" }, `name ${step}`);
      return `rename ${snapshot?.id}`;
    case "delete":
      if (byQemu) await snapshotDelete(image(ours), snapshot?.name ?? "");
      else await pool.delete(ours, snapshot?.name ?? "");
      await snapshotDelete(image(twin), snapshot?.name ?? "");
      return `delete ${snapshot?.id}${byQemu ? " by qemu-img" : ""}`;
  }
}

async function makeTwins(shape: Shape, random: Random): Promise<Twins> {
  const ours = await shape.build(await tempDir(), random);
  const twin = join(dirname(ours), "twin.qcow2");
  await copyFile(ours, twin);
  return {
    ours,
    twin,
    pool: await openPool(join(dirname(ours), ".qcowal")),
    image: (path) => (shape.encrypted === true ? { path, secret: SECRET } : path),
  };
}

describe("beside qemu-img on a twin", () => {
  test.each(SHAPES)("random operations leave the same disk and snapshots: $name", async (shape) => {
    const random = seededRandom(SEED);
    const twins = await makeTwins(shape, random);
    const done: string[] = [];
    for (let step = 0; step < STEPS; step += 1) {
      done.push(await perform(twins, shape, random, step));
      const story = `seed ${SEED}: ${done.join("; ")}`;
      await judge(twins.image(twins.ours));
      expect(await looks(twins.image(twins.ours)), story).toEqual(await looks(twins.image(twins.twin)));
    }
    await twins.pool.close();
  });

  test.each(LIMITED)(
    "one snapshot more than the refcount width allows is refused and changes nothing: $name",
    async (shape) => {
      const twins = await makeTwins(shape, seededRandom(SEED));
      const image = twins.image(twins.ours);
      const limit = shape.maxSnapshots ?? 0;
      const before = ((await info(image)).snapshots ?? []).length;
      const creates = (count: number): Operation[] =>
        Array.from({ length: count }, (_, index) => ({
          type: "create",
          image: twins.ours,
          name: `s${index}`,
        }));
      const overflow = { code: "REFCOUNT_OVERFLOW" };
      await expect(twins.pool.run(creates(limit + 1))).rejects.toMatchObject(overflow);
      expect((await info(image)).snapshots ?? []).toHaveLength(before);
      if (limit > before) await twins.pool.run(creates(limit - before));
      // A snapshot that shares nothing with the active layer leaves room for one more.
      let error: unknown;
      for (let more = 0; error === undefined && more <= before; more += 1) {
        error = await twins.pool.create(twins.ours, `more ${more}`).then(
          () => undefined,
          (cause: unknown) => cause,
        );
      }
      expect(error).toMatchObject(overflow);
      await judge(image);
      await expect(snapshotCreate(image, "more")).rejects.toThrow();
      expect((await qemuCheck(image)).leaks, "qemu-img leaks where we refuse").toBeGreaterThanOrEqual(0);
      await twins.pool.close();
    },
  );

  test.each(shapes.filter(({ noRevert }) => noRevert === true))(
    "a revert is refused where qemu-img refuses it, and changes nothing: $name",
    async (shape) => {
      const twins = await makeTwins(shape, seededRandom(SEED));
      await twins.pool.create(twins.ours, "s");
      const before = await looks(twins.image(twins.ours));
      await expect(twins.pool.revert(twins.ours, "s")).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
      await expect(snapshotApply(twins.ours, "s")).rejects.toThrow(/bitmap/);
      expect(await looks(twins.image(twins.ours))).toEqual(before);
      await twins.pool.close();
    },
  );
});
