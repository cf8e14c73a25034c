import { createHash } from "node:crypto";
import { copyFile, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { Journal } from "../../journal/index.ts";
import { Chain, MAGIC, encodeFrameHead } from "../../src/export/stream/wire.ts";
import {
  type ImageReceiveReport,
  type Pool,
  type QcowalError,
  planReceive,
  receiveStream,
} from "../../src/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { all } from "../export/lab.ts";
import { States, dribble } from "../export/stream-lab.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { must } from "../support/programs.ts";
import { createEncrypted, judge, requireQemu } from "../support/qemu.ts";
import { streamOf } from "../support/received.ts";
import { SPEC, expectClean, poolIn, scratch } from "./lab.ts";

const states = new States();

async function qemuImg(...args: readonly string[]): Promise<void> {
  await must("qemu-img", args);
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const active = async (path: string): Promise<Buffer> => Buffer.from(readRoot(await readFile(path), "active"));

async function lab(): Promise<{ dir: string; pool: Pool; copy: string }> {
  const dir = await scratch();
  return { dir, pool: await poolIn(dir), copy: join(dir, "copy.qcow2") };
}

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

/** It must be refused with the code, and not a byte of the file may be another one. */
async function expectRefused(
  pool: Pool,
  copy: string,
  stream: Uint8Array,
  code: string,
  message = /Nothing was changed/,
): Promise<void> {
  const before = digest(await readFile(copy));
  const error = await pool.receive(copy, dribble(stream, 50_000)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) as unknown });
  expect(digest(await readFile(copy))).toBe(before);
}

/** Two states of an image that `make` made, and the stream between them. */
async function imageLab(
  make: (dir: string) => Promise<void>,
): Promise<{ pool: Pool; copy: string; dir: string }> {
  await requireQemu();
  const { dir, pool, copy } = await lab();
  await make(dir);
  return { dir, pool, copy };
}

const create = (dir: string, ...args: readonly string[]): Promise<void> =>
  qemuImg("create", "-q", "-f", "qcow2", ...args, join(dir, "copy.qcow2"), "1M");

const blank: Buffer = Buffer.alloc(2 ** 20);
const filled = (from: number, to: number, byte: number, on: Buffer = blank): Buffer =>
  Buffer.from(on).fill(byte, from, to);

describe("a qcow2 copy refuses, and stays byte for byte as it is,", () => {
  test("a stream of which any byte was flipped", async () => {
    const { pool, copy } = await lab();
    await pool.receive(copy, dribble(await states.stream(undefined, 0), 100_000));
    const stream = await states.stream(0, 1);
    const step = Math.ceil(stream.length / 23);
    for (let at = 5; at < stream.length; at += step) {
      const flipped = Buffer.from(stream);
      flipped[at] = (flipped[at] ?? 0) ^ 0x10;
      await expectRefused(pool, copy, flipped, "STREAM_INVALID");
    }
    expect(await all(pool.history(copy))).toHaveLength(1);
  });

  test("a stream for another state, or a full one", async () => {
    const { pool, copy } = await lab();
    await pool.receive(copy, dribble(await states.stream(undefined, 0), 100_000));
    await expectRefused(pool, copy, await states.stream(3, 4), "TARGET_MISMATCH", /"day 3"/);
    await expectRefused(pool, copy, await states.stream(undefined, 1), "TARGET_MISMATCH", /full stream/);
  });

  test("a stream that does not lead where it says, before that is decided", async () => {
    const { pool, copy } = await imageLab((dir) => create(dir));
    const stream = await streamOf(blank, filled(4096, 90_000, 7));
    // Whole in itself, but made by somebody who says that it leads elsewhere.
    const forged = withOtherEnd(stream, (end) => ({ ...end, to: "0".repeat(64) }));
    await expectRefused(
      pool,
      copy,
      forged,
      "STREAM_INVALID",
      /does not make what it says.*Nothing was changed/,
    );
    expect((await all(pool.history(copy))).map(({ status }) => status)).toEqual(["failed"]);
    expect(await pool.receive(copy, dribble(stream))).toMatchObject({ result: "applied" });
  });

  test("what is no image, is damaged, or cannot be right", async () => {
    const { dir, pool, copy } = await imageLab((where) => create(where));
    const stream = await streamOf(blank, filled(0, 70_000, 7));
    const sound = await readFile(copy);
    const marked = Buffer.from(sound);
    for (const bit of [1, 2]) {
      marked[79] = bit;
      await writeFile(copy, marked);
      await expectRefused(pool, copy, stream, "IMAGE_DAMAGED");
    }
    await writeFile(copy, blank);
    await expectRefused(pool, copy, stream, "IMAGE_NOT_QCOW2", /./);
    await writeFile(copy, sound);
    await qemuImg("bitmap", "--add", copy, "nightly");
    await expectRefused(pool, copy, stream, "IMAGE_UNSUPPORTED", /bitmap.*Nothing was changed/);
    await create(dir, "-o", `data_file=${join(dir, "data.raw")}`);
    await expectRefused(pool, copy, stream, "IMAGE_UNSUPPORTED", /external file/);
    await createEncrypted(copy, 2 ** 20, "secret");
    await expectRefused(pool, copy, stream, "IMAGE_UNSUPPORTED", /encrypted/);
  });
});

/** A stream with another last frame, and the digest that fits it. */
function withOtherEnd(stream: Buffer, change: (end: Record<string, unknown>) => object): Buffer {
  const chain = new Chain();
  const parts: Buffer[] = [MAGIC];
  for (let at = MAGIC.length; at < stream.length;) {
    const length = stream.readUInt32BE(at + 4);
    let head = stream.subarray(at, at + 24);
    let payload = stream.subarray(at + 24, at + 24 + length);
    at += 24 + length + 32;
    if (head.toString("latin1", 0, 4) === "end ") {
      payload = Buffer.from(
        JSON.stringify(change(JSON.parse(payload.toString()) as Record<string, unknown>)),
      );
      head = encodeFrameHead({ tag: "end ", payload: payload.length, offset: 0, length: 0 });
    }
    parts.push(head, payload, chain.next(head, payload));
  }
  return Buffer.concat(parts);
}

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
