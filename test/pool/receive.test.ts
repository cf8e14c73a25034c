import { copyFile, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { Journal } from "../../journal/index.ts";
import { type ImageReceiveReport, type QcowalError, planReceive, receiveStream } from "../../src/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { all } from "../export/lab.ts";
import { dribble } from "../export/stream-lab.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { judge, requireQemu } from "../support/qemu.ts";
import { streamOf } from "../support/received.ts";
import { SPEC, expectClean } from "./lab.ts";
import {
  active,
  blank,
  create,
  digest,
  expectRefused,
  filled,
  imageLab,
  lab,
  qemuImg,
  states,
} from "./receive-lab.ts";

/** What a dry run says, with a pool and without: both the same, and neither leaves anything. */
async function dryRun(dir: string, copy: string, stream: Uint8Array): Promise<ImageReceiveReport> {
  const found = async (): Promise<string[]> => [
    ...(await readdir(dir)),
    await readFile(copy).then(digest, () => "none"),
  ];
  const before = await found();
  const report = await planReceive(copy, dribble(stream, 9000));
  expect(report).toMatchObject({ dryRun: true, transaction: null });
  expect(await found()).toEqual(before);
  return report;
}

test("a dry run by a pool is that without one, waits for what runs on the image, and makes no record", async () => {
  const { dir, pool, copy } = await lab();
  const [full, next] = [await states.stream(undefined, 0), await states.stream(0, 1)];
  const received = pool.receive(copy, dribble(full, 9000));
  const planned = await pool.receive(copy, dribble(next, 9000), { dryRun: true, snapshot: "mine" });
  await received;
  expect(planned).toMatchObject({ dryRun: true, result: "applied", kept: "mine", transaction: null });
  const { outcomes: _, ...cost } = (await dryRun(dir, copy, next)).plan ?? {};
  expect(planned.plan).toMatchObject(cost);
  expect(await all(pool.history(copy))).toHaveLength(1);
  for (const wrong of [await states.stream(1, 2), next.subarray(0, -1), await states.stream(undefined, 1)]) {
    const real = await pool.receive(copy, dribble(wrong, 9000)).catch((error: unknown) => error);
    const dry = await planReceive(copy, dribble(wrong, 9000)).catch((error: unknown) => error);
    expect(dry).toMatchObject({ code: (real as QcowalError).code, message: (real as QcowalError).message });
  }
  expect(await planReceive(copy, dribble(full, 9000), { snapshot: "other" })).toMatchObject({
    result: "applied",
    kept: "other",
    plan: { outcomes: [{ type: "receive" }, { type: "create", snapshot: { name: "other" } }] },
  });
});

describe("a qcow2 copy that receives a full stream and five incremental ones", () => {
  test("stands at each state in turn, keeps each as a snapshot, and sound for every judge", async () => {
    await requireQemu();
    const { dir, pool, copy } = await lab();
    for (let index = 0; index < 6; index += 1) {
      const stream = await states.stream(index === 0 ? undefined : index - 1, index);
      const path = join(dir, "stream");
      await writeFile(path, stream);
      const dry = await dryRun(dir, copy, stream);
      const report = await pool.receive(copy, index % 2 === 0 ? path : dribble(stream), {
        reason: "nightly",
      });
      expect(report).toMatchObject({
        target: copy,
        result: index === 0 ? "created" : "applied",
        kept: `day ${index}`,
        to: { snapshot: { name: `day ${index}` }, size: states.content(index).length },
      });
      expect(report.transaction).toEqual(expect.any(Number));
      // It said what came of it, to the byte.
      const { plan, ...foreseen } = dry;
      expect({ ...foreseen, dryRun: false, transaction: report.transaction }).toEqual(report);
      expect(plan?.fileSize.to).toBe((await stat(copy)).size);
      await judge(copy);
      for (let kept = 0; kept <= index; kept += 1) {
        expect(Buffer.compare(readRoot(await readFile(copy), kept), states.content(kept))).toBe(0);
      }
      const raw = join(dir, "state.raw");
      await writeFile(raw, states.content(index));
      await qemuImg("compare", "-f", "raw", "-F", "qcow2", raw, copy);
      expect(await dryRun(dir, copy, stream)).toMatchObject({ result: "unchanged", kept: null });
      expect(await pool.receive(copy, path)).toMatchObject({
        result: "unchanged",
        transaction: null,
        kept: null,
      });
    }
    expect((await readdir(dir)).filter((name) => name.startsWith(".") && name !== ".qcowal")).toEqual([]);
    const entries = await all(pool.history(copy));
    expect(entries.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => "done"));
    expect(await pool.status(copy)).toMatchObject({ matches: true });
    const { nodes } = await pool.tree(copy);
    expect(nodes.map(({ snapshot }) => snapshot.name)).toEqual(entries.map((_, index) => `day ${index}`));
    expect(nodes.map(({ parent }) => parent)).toEqual([null, ...nodes.slice(0, -1).map(({ key }) => key)]);
    expect(entries.slice(1).every(({ images }) => images[0]?.observed === undefined)).toBe(true);
    expect(entries[0]).toMatchObject({
      reason: "nightly",
      operations: [
        { type: "receive", from: null },
        { type: "create", name: "day 0" },
      ],
      images: [{ outcomes: [{ type: "receive" }, { type: "create", snapshot: { name: "day 0" } }] }],
    });
    expect(entries[1]).toMatchObject({
      reason: "nightly",
      operations: [
        { type: "receive", from: { snapshot: { name: "day 0" } }, to: { snapshot: { name: "day 1" } } },
        { type: "create", name: "day 1" },
      ],
    });
    await expect(pool.undo(copy)).rejects.toMatchObject({
      code: "UNDO_IMPOSSIBLE",
      message: expect.stringMatching(/received a stream.*"day 4".*revert to it/) as unknown,
    });
  }, 60_000);

  test("is brought forward without snapshots, or with others, and gets the snapshot that it lacks", async () => {
    const { pool, copy } = await lab();
    const receive = async (index: number, snapshot?: string | false): Promise<ImageReceiveReport> =>
      pool.receive(
        copy,
        dribble(await states.stream(index === 0 ? undefined : index - 1, index), 9000),
        snapshot === undefined ? {} : { snapshot },
      );
    expect(await receive(0, false)).toMatchObject({ result: "created", kept: null });
    expect(await receive(1, false)).toMatchObject({ result: "applied", kept: null });
    expect(await pool.list(copy)).toEqual([]);
    expect(await receive(1)).toMatchObject({ result: "applied", kept: "day 1" });
    expect(await receive(2, "mine")).toMatchObject({ result: "applied", kept: "mine" });
    expect((await pool.list(copy)).map(({ name }) => name)).toEqual(["day 1", "mine"]);
    await expect(receive(3, "mine")).rejects.toMatchObject({ code: "SNAPSHOT_EXISTS" });
    expect(Buffer.compare(await active(copy), states.content(2))).toBe(0);
    await expectClean(copy);
  });
});

describe("a qcow2 copy of any kind", () => {
  const KINDS: Readonly<Record<string, readonly string[]>> = {
    "of version 2": ["-o", "compat=0.10"],
    "with small clusters": ["-o", "cluster_size=512"],
    "with large clusters": ["-o", "cluster_size=2M"],
    "with extended L2 entries": ["-o", "extended_l2=on"],
    "with refcounts of 1 bit": ["-o", "refcount_bits=1"],
  };
  const BACKED = {
    "in version 2": ["-o", "compat=0.10"],
    "in version 3": [],
    "with extended L2 entries": ["-o", "extended_l2=on"],
  };

  test.each(Object.entries(KINDS))("holds what it received: %s", async (_kind, args) => {
    const { pool, copy } = await imageLab((dir) => create(dir, ...args));
    const contents = [
      blank,
      filled(1000 * 512, 1300 * 512, 3),
      filled(5 * 512, 1200 * 512, 0, filled(0, 2 ** 20, 9)),
    ];
    for (const [index, to] of contents.entries()) {
      const from = contents[index - 1];
      if (from === undefined) continue;
      await pool.receive(copy, dribble(await streamOf(from, to, `state ${index}`)), { snapshot: false });
      expect(Buffer.compare(await active(copy), to)).toBe(0);
      await judge(copy);
    }
  });

  test.each(Object.entries(BACKED))(
    "hides what its backing file has where zeros are received: %s",
    async (_kind, args) => {
      const base = filled(0, 2 ** 20, 5);
      const { dir, pool, copy } = await imageLab(async (where) => {
        await writeFile(join(where, "base.raw"), base);
        await create(where, "-b", join(where, "base.raw"), "-F", "raw", ...args);
      });
      const to = filled(70_000 - (70_000 % 512), 400 * 1024, 0, filled(0, 512, 8, base));
      await pool.receive(copy, dribble(await streamOf(base, to)));
      await writeFile(join(dir, "to.raw"), to);
      await qemuImg("compare", "-f", "raw", "-F", "qcow2", join(dir, "to.raw"), copy);
      await judge(copy);
      const grown = Buffer.concat([to, Buffer.alloc(2 ** 20)]);
      await expectRefused(
        pool,
        copy,
        await streamOf(to, grown, "grown"),
        "IMAGE_UNSUPPORTED",
        /backing file.*grow/,
      );
      const shrunk = to.subarray(0, 2 ** 19);
      await pool.receive(copy, dribble(await streamOf(to, shrunk, "shrunk")));
      await writeFile(join(dir, "to.raw"), shrunk);
      await qemuImg("compare", "-f", "raw", "-F", "qcow2", join(dir, "to.raw"), copy);
      await judge(copy);
    },
  );

  test("that others made keeps its snapshots and goes on from where it stands", async () => {
    const { dir, pool, copy } = await lab();
    const bytes = makeImage(SPEC);
    await writeFile(copy, bytes);
    const from = readRoot(bytes, "active");
    const to = filled(8192, 20_000, 6, Buffer.from(from));
    await pool.receive(copy, dribble(await streamOf(from, to)));
    const now = await readFile(copy);
    expect(Buffer.compare(readRoot(now, "active"), to)).toBe(0);
    for (const index of [0, 1]) {
      expect(Buffer.compare(readRoot(now, index), readRoot(bytes, index))).toBe(0);
    }
    await expectClean(copy);
    // And what it holds can be sent on.
    const raw = join(dir, "third.raw");
    await receiveStream(raw, dribble(await streamOf(undefined, from)));
    await receiveStream(raw, dribble(await streamOf(from, to)));
    expect(Buffer.compare(await readFile(raw), to)).toBe(0);
  });
});

describe("a receive that is called off", () => {
  test("leaves the copy as it was, wherever it stood, and goes on when it is repeated", async () => {
    const { dir, pool, copy } = await lab();
    await pool.receive(copy, dribble(await states.stream(undefined, 0), 100_000));
    const stream = await states.stream(0, 1);
    const kept = join(dir, "kept.qcow2");
    await copyFile(copy, kept);
    for (const phase of ["verify", "compare", "apply", "check"]) {
      const controller = new AbortController();
      const receive = pool.receive(copy, dribble(stream, 100_000), {
        signal: controller.signal,
        onProgress: (at) => {
          if (at === phase) controller.abort();
        },
      });
      await expect(receive).rejects.toMatchObject({
        code: "ABORTED",
        message: expect.stringMatching(/Nothing was changed/) as unknown,
      });
      expect(Buffer.compare(await active(copy), states.content(0))).toBe(0);
      await expectClean(copy);
    }
    expect(await pool.receive(copy, dribble(stream))).toMatchObject({ result: "applied" });
  });
});

test("a receive that was interrupted behind its decision is told from one that was done long ago", async () => {
  const { pool, copy } = await lab();
  await pool.receive(copy, dribble(await states.stream(undefined, 0), 100_000));
  const stream = await states.stream(0, 1);
  const settle = vi.spyOn(Journal.prototype, "settle").mockRejectedValueOnce(new Error("unplugged"));
  await expect(pool.receive(copy, dribble(stream))).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
  settle.mockRestore();
  expect(await pool.receive(copy, dribble(stream))).toMatchObject({ result: "resumed", kept: "day 1" });
  expect(await pool.receive(copy, dribble(stream))).toMatchObject({ result: "unchanged", kept: null });
  expect((await all(pool.history(copy))).at(-1)).toMatchObject({ status: "finished by recovery" });
});

describe("a full stream", () => {
  test.each([0, 512, 3 * 2 ** 20 + 512])(
    "of a disk of %i bytes makes an image that is sound",
    async (size) => {
      await requireQemu();
      const { pool, copy } = await lab();
      const content = Buffer.alloc(size, 5);
      expect(await pool.receive(copy, dribble(await streamOf(undefined, content)))).toMatchObject({
        result: "created",
      });
      expect(Buffer.compare(await active(copy), content)).toBe(0);
      await judge(copy);
    },
  );

  test("of a disk that no image can have makes none", async () => {
    const { dir, pool, copy } = await lab();
    const receive = pool.receive(copy, dribble(await streamOf(undefined, Buffer.alloc(700, 1))));
    await expect(receive).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
    expect((await readdir(dir)).filter((name) => name !== ".qcowal")).toEqual([]);
  });
});
