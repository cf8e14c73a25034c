import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { contentDigest, encodeStream } from "../../src/export/index.ts";
import { receiveStream } from "../../src/index.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { BytesGuest, all } from "./lab.ts";
import { Receiver, States, dribble, read } from "./stream-lab.ts";

const states = new States();

const UNIT = 512;

/** Pieces of data, of zeros and of what was there, in lengths that fit nothing. */
function twoDisks(random: Random): [Buffer, Buffer] {
  const fill = (bytes: Buffer, chance: number): Buffer => {
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + UNIT * (1 + random.int(random.chance(0.1) ? 3000 : 40)));
      if (random.chance(chance)) bytes.fill(random.chance(0.4) ? 0 : 1 + random.int(255), at, end);
      at = end;
    }
    return bytes;
  };
  const size = (): number => UNIT * random.int(9000);
  const before = fill(Buffer.alloc(size()), 0.8);
  const after = Buffer.alloc(random.chance(0.4) ? before.length : size());
  before.copy(after);
  return [before, fill(after, random.pick([0.01, 0.1, 0.9]))];
}

/** Where two disks differ: units of 512 bytes, and all that only the second one has. */
function differences(before: Buffer, after: Buffer): [offset: number, end: number][] {
  const found: [number, number][] = [];
  for (let at = 0; at < after.length; at += UNIT) {
    const isSame =
      at + UNIT <= before.length &&
      before.subarray(at, at + UNIT).equals(after.subarray(at, Math.min(at + UNIT, after.length)));
    if (isSame) continue;
    const last = found.at(-1);
    if (last?.[1] === at) last[1] = at + UNIT;
    else found.push([at, at + UNIT]);
  }
  return found;
}

describe("a full stream and five incremental ones", () => {
  test("make each state in turn, byte by byte, from files and from pipes", async () => {
    const receiver = await Receiver.at();
    for (let index = 0; index < 6; index += 1) {
      const stream = await states.stream(index === 0 ? undefined : index - 1, index);
      const source = index % 2 === 0 ? await receiver.save(stream) : dribble(stream);
      const report = await receiveStream(receiver.target, source);
      expect(report).toMatchObject({
        target: receiver.target,
        image: "/vms/web.qcow2",
        result: index === 0 ? "created" : "applied",
        to: { snapshot: { name: `day ${index}` }, size: states.content(index).length },
        digest: await contentDigest(new BytesGuest(states.content(index))),
      });
      expect(Buffer.compare(await receiver.bytes(), states.content(index)), `day ${index}`).toBe(0);
      expect(await receiver.leftovers()).toEqual([]);
    }
  });

  test("send what changed and nothing else, zeros as zeros", async () => {
    const [before, after] = [states.content(3), states.content(4)];
    const { items } = await read(await states.stream(3, 4));
    let next = 0;
    const result = Buffer.alloc(after.length);
    before.copy(result);
    for (const item of items) {
      if (item.type !== "data" && item.type !== "zero") continue;
      const length = item.type === "data" ? item.bytes.length : item.length;
      expect(item.offset).toBeGreaterThanOrEqual(next);
      next = item.offset + length;
      for (let at = item.offset; at < next; at += 4096) {
        const [one, other] = [before, after].map((bytes) => bytes.subarray(at, Math.min(at + 4096, next)));
        expect(one?.equals(other ?? Buffer.alloc(0))).toBe(false);
        expect(other?.every((byte) => byte === 0)).toBe(item.type === "zero");
      }
      if (item.type === "data") item.bytes.copy(result, item.offset);
      else result.fill(0, item.offset, next);
    }
    expect(items.some(({ type }) => type === "zero")).toBe(true);
    expect(result.equals(after)).toBe(true);
  });

  test.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "make any disk of any other, of whatever sizes, seed %i",
    async (seed) => {
      const random = seededRandom(4000 + seed);
      const [before, after] = twoDisks(random);
      const changed = (async function* () {
        // As a mapping would have it: all that differs, and a bit more.
        for (const [offset, end] of differences(before, after)) {
          await Promise.resolve();
          yield { offset, length: end - offset };
        }
      })();
      const side = (bytes: Buffer) => ({ snapshot: null, size: bytes.length });
      const isFull = random.chance(0.2);
      const stream = Buffer.concat(
        await all(
          encodeStream(
            { image: "x", from: isFull ? null : side(before), to: side(after) },
            {
              ...(isFull ? {} : { from: new BytesGuest(before), changed }),
              to: new BytesGuest(after),
            },
          ),
        ),
      );
      const { items, error } = await read(stream);
      expect(error).toBeUndefined();
      const result = Buffer.alloc(after.length);
      if (!isFull) before.copy(result);
      for (const item of items) {
        if (item.type === "data") item.bytes.copy(result, item.offset);
        else if (item.type === "zero") result.fill(0, item.offset, item.offset + item.length);
        else if (item.type === "end") {
          expect(item.end).toMatchObject({
            from: isFull ? null : await contentDigest(new BytesGuest(before)),
            to: await contentDigest(new BytesGuest(after)),
          });
        }
      }
      expect(result.equals(after)).toBe(true);
    },
  );

  test("see a change that lies across the border of two pieces, by a sector on each side", async () => {
    const before = Buffer.alloc(2 << 20, 3);
    const after = Buffer.from(before);
    after.fill(4, (1 << 20) - 512, (1 << 20) + 512);
    const changed = (async function* () {
      yield await Promise.resolve({ offset: (1 << 20) - 512, length: 1024 });
    })();
    const side = { snapshot: null, size: before.length };
    const content = { from: new BytesGuest(before), to: new BytesGuest(after), changed };
    const frames = await all(encodeStream({ image: "x", from: side, to: side }, content));
    const receiver = await Receiver.at(before);
    await receiveStream(receiver.target, dribble(Buffer.concat(frames)));
    expect((await receiver.bytes()).equals(after)).toBe(true);
  });

  test("read of the later state only the pieces in which something changed", async () => {
    const bytes = Buffer.alloc(64 << 20, 1);
    const changed = Buffer.from(bytes);
    changed.fill(2, 40 << 20, (40 << 20) + 5000);
    const [from, to] = [new BytesGuest(bytes), new BytesGuest(changed)];
    const side = { snapshot: null, size: bytes.length };
    const frames = encodeStream(
      { image: "x", from: side, to: side },
      {
        from,
        to,
        changed: (async function* () {
          yield await Promise.resolve({ offset: 40 << 20, length: 8192 });
        })(),
      },
    );
    const stream = Buffer.concat(await all(frames));
    expect(to.reads).toBe(1);
    expect(stream.length).toBeLessThan(10_000);
  });

  test("clear what became zeros altogether, and read nothing that is said to be zeros", async () => {
    const bytes = Buffer.alloc(3 << 20, 9);
    const cleared = Buffer.from(bytes);
    cleared.fill(0, 1 << 20, 2 << 20);
    const [from, to] = [new BytesGuest(bytes), new BytesGuest(cleared)];
    const side = { snapshot: null, size: bytes.length };
    const frames = await all(encodeStream({ image: "x", from: side, to: side }, { from, to }));
    expect(to.reads).toBe(2);
    const receiver = await Receiver.at(bytes);
    expect(await receiveStream(receiver.target, dribble(Buffer.concat(frames)))).toMatchObject({
      data: 0,
      zero: 1 << 20,
    });
    expect((await receiver.bytes()).equals(cleared)).toBe(true);
    expect((await stat(receiver.target)).blocks * 512).toBeLessThan(bytes.length);
  });

  test("keep a sparse disk sparse", async () => {
    const bytes = Buffer.alloc(48 << 20);
    bytes.fill(7, 20 << 20, (20 << 20) + 4096);
    const to = new BytesGuest(bytes);
    const side = { snapshot: null, size: bytes.length };
    const frames = await all(encodeStream({ image: "x", from: null, to: side }, { to }));
    const receiver = await Receiver.at();
    await receiveStream(receiver.target, dribble(Buffer.concat(frames)));
    expect((await receiver.bytes()).equals(bytes)).toBe(true);
    expect((await stat(receiver.target)).blocks * 512).toBeLessThan(1 << 20);
  });

  test("come to an empty disk too", async () => {
    const side = { snapshot: null, size: 0 };
    const to = new BytesGuest(new Uint8Array(0));
    const receiver = await Receiver.at();
    await receiveStream(
      receiver.target,
      dribble(Buffer.concat(await all(encodeStream({ image: "x", from: null, to: side }, { to })))),
    );
    expect(await receiver.bytes()).toHaveLength(0);
  });
});

test("the digest of a disk is that of its size and of the digests of its pieces", async () => {
  const sha256 = (...parts: (string | Uint8Array)[]): Buffer =>
    parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
  const bytes = Buffer.alloc((2 << 20) + 700);
  bytes.fill(6, 100, 1 << 19);
  const size = Buffer.from([0, 0, 0, 0, 0, 0x20, 2, 0xbc]);
  const pieces = [bytes.subarray(0, 1 << 20), bytes.subarray(1 << 20, 2 << 20), bytes.subarray(2 << 20)];
  expect(await contentDigest(new BytesGuest(bytes))).toBe(
    sha256("qcowal content 1\n", size, ...pieces.map((piece) => sha256(piece))).toString("hex"),
  );
});
