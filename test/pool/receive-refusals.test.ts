import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Chain, MAGIC, encodeFrameHead } from "../../src/export/stream/wire.ts";
import { all } from "../export/lab.ts";
import { dribble } from "../export/stream-lab.ts";
import { createEncrypted } from "../support/qemu.ts";
import { streamOf } from "../support/received.ts";
import { blank, create, expectRefused, filled, imageLab, lab, qemuImg, states } from "./receive-lab.ts";

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
