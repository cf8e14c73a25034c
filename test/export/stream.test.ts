import { createHash } from "node:crypto";
import { rm, stat, truncate, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { type StreamItem, contentDigest, decodeStream, encodeStream } from "../../src/export/index.ts";
import { Chain, MAGIC, encodeFrameHead } from "../../src/export/stream/wire.ts";
import { receiveStream } from "../../src/index.ts";
import { run } from "../support/programs.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { BytesGuest, all } from "./lab.ts";
import { Receiver, States, dribble } from "./stream-lab.ts";

const root = resolve(import.meta.dirname, "../..");
const states = new States();

/** As far as a stream could be read, and why not further. */
async function read(bytes: Uint8Array): Promise<{ items: StreamItem[]; error: unknown }> {
  const items: StreamItem[] = [];
  try {
    for await (const item of decodeStream(dribble(bytes, 70_000), "it")) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

const STREAM_INVALID = expect.objectContaining({ code: "STREAM_INVALID" }) as unknown;

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

describe("a stream that is not as it was made is refused:", () => {
  test("any flipped bit of magic, header, frames and end, before what is damaged is handed out", async () => {
    const frames = await states.frames(1, 2);
    const stream = Buffer.concat(frames);
    const random = seededRandom(5);
    const places = new Set<number>();
    let at = 0;
    for (const [index, { length }] of frames.entries()) {
      const isJson = index < 2 || index === frames.length - 1;
      // All of magic, header and end; of each record its fields, its digest, and some of its data.
      const wanted = isJson ? length : 24;
      for (let byte = 0; byte < Math.min(wanted, length); byte += 1) places.add(at + byte);
      for (let times = 0; times < 3; times += 1) places.add(at + random.int(length));
      places.add(at + length - 1 - random.int(Math.min(32, length)));
      at += length;
    }
    expect(places.size).toBeGreaterThan(600);
    for (const place of places) {
      const damaged = Buffer.from(stream);
      damaged[place] = (damaged[place] ?? 0) ^ (1 << random.int(8));
      const { items, error } = await read(damaged);
      expect(error, `byte ${place}`).toEqual(STREAM_INVALID);
      const handedOut = Buffer.concat(items.flatMap(({ frame }) => frame));
      expect(handedOut.length).toBeLessThanOrEqual(place);
      expect(handedOut.equals(stream.subarray(0, handedOut.length))).toBe(true);
    }
  });

  test("cut off anywhere, or continued", async () => {
    const frames = await states.frames(1, 2);
    const stream = Buffer.concat(frames);
    let at = 0;
    const cuts = new Set<number>();
    for (const { length } of frames) {
      for (const cut of [at, at + 1, at + 12, at + length - 1]) cuts.add(cut);
      at += length;
    }
    for (const cut of cuts) {
      expect((await read(stream.subarray(0, cut))).error, `cut at ${cut}`).toEqual(STREAM_INVALID);
    }
    expect((await read(Buffer.concat([stream, Buffer.alloc(1)]))).error).toEqual(STREAM_INVALID);
    expect((await read(Buffer.concat([stream, stream]))).error).toEqual(STREAM_INVALID);
  });

  test("frames left out, doubled, exchanged, or from another stream", async () => {
    const frames = await states.frames(1, 2);
    const others = await states.frames(0, 1);
    expect(frames.length).toBeGreaterThan(8);
    const without = frames.toSpliced(4, 1);
    const doubled = frames.toSpliced(4, 0, ...frames.slice(4, 5));
    const exchanged = frames.with(4, frames[5] ?? MAGIC).with(5, frames[4] ?? MAGIC);
    const mixed = frames.with(4, others[4] ?? MAGIC);
    const ended = [...frames.slice(0, 5), ...frames.slice(-1)];
    for (const list of [without, doubled, exchanged, mixed, ended]) {
      expect((await read(Buffer.concat(list))).error).toEqual(STREAM_INVALID);
    }
  });

  /** Frames with digests that fit: what a faulty or hostile program could make. */
  function forged(
    frames: readonly (readonly [tag: string, offset: number, length: number, payload: Buffer])[],
  ): Buffer {
    const chain = new Chain();
    const side = { snapshot: null, size: 8192 };
    const header = Buffer.from(JSON.stringify({ image: "x", from: null, to: side }));
    const parts: Buffer[] = [MAGIC];
    for (const [tag, offset, length, payload] of [["head", 0, 0, header] as const, ...frames]) {
      const head = encodeFrameHead({ tag, offset, length, payload: payload.length });
      parts.push(head, payload, chain.next(head, payload));
    }
    return Buffer.concat(parts);
  }

  const none = Buffer.alloc(0);
  const end = (counts: object): Buffer =>
    Buffer.from(JSON.stringify({ records: 0, data: 0, zero: 0, from: null, to: "0".repeat(64), ...counts }));

  type Forged = readonly [tag: string, offset: number, length: number, payload: Buffer];

  /** The same with an end that counts them, so that nothing but the frames themselves is wrong. */
  function ended(frames: readonly Forged[]): Buffer {
    const sum = (wanted: string): number =>
      frames.reduce((total, [tag, , length]) => total + (tag === wanted ? length : 0), 0);
    const counts = { records: frames.length, data: sum("data"), zero: sum("zero") };
    return forged([...frames, ["end ", 0, 0, end(counts)]]);
  }

  test.each<[string, RegExp, Forged[]]>([
    ["a record behind the end of the disk", /record that makes no sense/, [["zero", 8192, 1, none]]],
    ["a record that reaches over it", /record that makes no sense/, [["data", 8000, 512, Buffer.alloc(512)]]],
    ["a record at 2^63", /record that makes no sense/, [["zero", 2 ** 63, 512, none]]],
    [
      "records in the wrong order",
      /record that makes no sense/,
      [
        ["zero", 4096, 512, none],
        ["zero", 0, 512, none],
      ],
    ],
    [
      "records that overlap",
      /record that makes no sense/,
      [
        ["zero", 0, 512, none],
        ["zero", 511, 512, none],
      ],
    ],
    [
      "data of another length than it says",
      /record that makes no sense/,
      [["data", 0, 512, Buffer.alloc(100)]],
    ],
    ["zeros with a payload", /record that makes no sense/, [["zero", 0, 512, Buffer.alloc(512)]]],
    ["nothing in a record", /record that makes no sense/, [["zero", 0, 0, none]]],
    ["an unknown frame", /unknown kind/, [["more", 0, 0, none]]],
    ["a second header", /unknown kind/, [["head", 0, 0, Buffer.from("{}")]]],
  ])("%s", async (_, reason, frames) => {
    expect((await read(ended(frames))).error).toMatchObject({
      code: "STREAM_INVALID",
      message: expect.stringMatching(reason) as string,
    });
    expect((await read(ended([["zero", 0, 512, none]]))).error).toBeUndefined();
  });

  test.each([
    ["that counts other records", { records: 2, zero: 512 }],
    ["that counts other data", { records: 1, zero: 512, data: 1 }],
    ["that counts other zeros", { records: 1, zero: 513 }],
    ["with no digest", { records: 1, zero: 512, to: "abc" }],
    [
      "of an incremental stream behind the header of a full one",
      { records: 1, zero: 512, from: "0".repeat(64) },
    ],
  ])("an end %s", async (_, counts) => {
    const { error } = await read(
      forged([
        ["zero", 0, 512, none],
        ["end ", 0, 0, end(counts)],
      ]),
    );
    expect(error).toMatchObject({ message: expect.stringContaining("does not count") as string });
  });

  test("and the target stays as it was, with nothing beside it", async () => {
    const receiver = await Receiver.at(states.content(1));
    const stream = await states.stream(1, 2);
    const random = seededRandom(6);
    for (let times = 0; times < 6; times += 1) {
      const damaged = Buffer.from(stream);
      const place = random.int(stream.length);
      damaged[place] = (damaged[place] ?? 0) ^ 0x10;
      const source = times % 2 === 0 ? dribble(damaged) : await receiver.save(damaged);
      await expect(receiveStream(receiver.target, source)).rejects.toMatchObject({
        code: "STREAM_INVALID",
        message: expect.stringContaining("Nothing was changed") as string,
      });
      expect((await receiver.bytes()).equals(states.content(1))).toBe(true);
      expect(await receiver.leftovers()).toEqual([]);
    }
    const fresh = await Receiver.at();
    const full = await states.stream(undefined, 0);
    await expect(receiveStream(fresh.target, dribble(full.subarray(0, -1)))).rejects.toEqual(STREAM_INVALID);
    await expect(fresh.bytes()).rejects.toMatchObject({ code: "ENOENT" });
    expect(await fresh.leftovers()).toEqual([]);
  });
});

describe("a target that the stream was not made for is refused:", () => {
  const MISMATCH = {
    code: "TARGET_MISMATCH",
    message: expect.stringContaining("Nothing was changed") as string,
  };

  test("another state, one other byte, another size", async () => {
    const receiver = await Receiver.at(states.content(0));
    const stream = await receiver.save(await states.stream(1, 2));
    await expect(receiveStream(receiver.target, stream)).rejects.toMatchObject(MISMATCH);
    const almost = Buffer.from(states.content(1));
    almost[12_345] = (almost[12_345] ?? 0) ^ 1;
    await writeFile(receiver.target, almost);
    await expect(receiveStream(receiver.target, stream)).rejects.toMatchObject(MISMATCH);
    expect((await receiver.bytes()).equals(almost)).toBe(true);
    await writeFile(receiver.target, states.content(1));
    await truncate(receiver.target, states.content(1).length + 512);
    await expect(receiveStream(receiver.target, stream)).rejects.toMatchObject(MISMATCH);
    expect(await receiver.leftovers()).toEqual([]);
  });

  test("a file in the place of a new one; but what was received before is left in peace", async () => {
    const receiver = await Receiver.at(states.content(1));
    const full = await receiver.save(await states.stream(undefined, 0));
    await expect(receiveStream(receiver.target, full)).rejects.toMatchObject(MISMATCH);
    expect((await receiver.bytes()).equals(states.content(1))).toBe(true);
    const second = await receiver.save(await states.stream(0, 1), "second");
    expect(await receiveStream(receiver.target, second)).toMatchObject({ result: "unchanged" });
    await writeFile(receiver.target, states.content(0));
    expect(await receiveStream(receiver.target, full)).toMatchObject({ result: "unchanged" });
  });

  test("one that somebody holds, one that is none, and one that is not there", async () => {
    const receiver = await Receiver.at(states.content(0));
    const stream = await receiver.save(await states.stream(0, 1));
    const held = await openFileDisk(receiver.target, "read");
    await expect(receiveStream(receiver.target, stream)).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await held.close();
    await expect(receiveStream(receiver.dir, stream)).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
    await expect(receiveStream(`${receiver.target}.not`, stream)).rejects.toMatchObject({
      code: "IMAGE_NOT_FOUND",
    });
    await expect(receiveStream(receiver.target, `${stream}.not`)).rejects.toMatchObject({
      code: "IO_FAILED",
    });
    expect((await receiver.bytes()).equals(states.content(0))).toBe(true);
  });
});

describe("receiving that was interrupted", () => {
  test("at any record goes on with the same stream, and with no other", async () => {
    const stream = await states.stream(2, 3);
    const records = (await read(stream)).items.length - 2;
    const other = await states.stream(2, 1);
    expect(records).toBeGreaterThan(5);
    for (let stop = 1; stop <= records; stop += Math.ceil(records / 12)) {
      const receiver = await Receiver.at(states.content(2));
      const controller = new AbortController();
      let seen = 0;
      const called = receiveStream(receiver.target, dribble(stream), {
        signal: controller.signal,
        onProgress: (phase) => {
          if (phase === "apply" && (seen += 1) === stop) controller.abort();
        },
      });
      await expect(called).rejects.toMatchObject({
        code: "ABORTED",
        message: expect.stringContaining("between two states") as string,
      });
      expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-receive"]);
      await expect(receiveStream(receiver.target, dribble(other))).rejects.toMatchObject({
        code: "TARGET_MISMATCH",
        message: expect.stringContaining("between two states") as string,
      });
      expect(await receiveStream(receiver.target, dribble(stream))).toMatchObject({ result: "resumed" });
      expect((await receiver.bytes()).equals(states.content(3))).toBe(true);
      expect(await receiver.leftovers()).toEqual([]);
    }
  });

  test("before the first write leaves the target as it was", async () => {
    const stream = await states.stream(2, 3);
    for (const last of ["verify", "compare"]) {
      const receiver = await Receiver.at(states.content(2));
      const controller = new AbortController();
      const called = receiveStream(receiver.target, dribble(stream), {
        signal: controller.signal,
        onProgress: (phase) => {
          if (phase === last) controller.abort();
        },
      });
      await expect(called).rejects.toMatchObject({
        code: "ABORTED",
        message: expect.stringContaining("Nothing was changed") as string,
      });
      expect((await receiver.bytes()).equals(states.content(2))).toBe(true);
      expect(await receiver.leftovers()).toEqual([]);
    }
  });

  test("and given up for a full stream leaves no mark that keeps others away", async () => {
    const receiver = await Receiver.at(states.content(2));
    await receiveStream(receiver.target, dribble(await states.stream(2, 3)), {
      onProgress: (phase) => {
        if (phase === "apply") throw new Error("enough");
      },
    }).catch(() => undefined);
    expect(await receiver.leftovers()).toHaveLength(1);
    await rm(receiver.target);
    await receiveStream(receiver.target, dribble(await states.stream(undefined, 3)));
    expect(await receiveStream(receiver.target, dribble(await states.stream(3, 4)))).toMatchObject({
      result: "applied",
    });
  });

  test("is noticed when somebody else wrote to the target meanwhile, and stays marked", async () => {
    const stream = await states.stream(2, 3);
    const receiver = await Receiver.at(states.content(2));
    const saved = await receiver.save(stream);
    const controller = new AbortController();
    await receiveStream(receiver.target, saved, {
      signal: controller.signal,
      onProgress: (phase) => {
        if (phase === "apply") controller.abort();
      },
    }).catch(() => undefined);
    const untouched = states.content(3).findIndex((byte, at) => byte !== 0 && byte === states.content(2)[at]);
    const bytes = await receiver.bytes();
    bytes[untouched] = (bytes[untouched] ?? 0) ^ 1;
    await writeFile(receiver.target, bytes);
    const twice = receiveStream(receiver.target, saved);
    await expect(twice).rejects.toMatchObject({
      code: "TARGET_MISMATCH",
      message: expect.stringContaining("somebody else") as string,
    });
    expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-receive"]);
  });

  test.each([
    ["apply", 7],
    ["check", 2],
  ])("by SIGKILL (%s, %i) is finished by the next call", async (phase, count) => {
    const receiver = await Receiver.at(states.content(3));
    const stream = await receiver.save(await states.stream(3, 4));
    const victim = resolve(root, "test/export/victim.ts");
    const args = ["--import", "tsx", victim, receiver.target, stream, phase, String(count)];
    const { signal, stderr } = await run(process.execPath, args, { cwd: root });
    expect(signal, stderr).toBe("SIGKILL");
    expect(await receiveStream(receiver.target, stream)).toMatchObject({ result: "resumed" });
    expect((await receiver.bytes()).equals(states.content(4))).toBe(true);
    expect(await receiver.leftovers()).toEqual([]);
  });

  test("while it made a new file leaves no file of that name, and begins anew", async () => {
    const receiver = await Receiver.at();
    const stream = await receiver.save(await states.stream(undefined, 4));
    const victim = resolve(root, "test/export/victim.ts");
    const args = ["--import", "tsx", victim, receiver.target, stream, "apply", "3"];
    expect(await run(process.execPath, args, { cwd: root })).toMatchObject({ signal: "SIGKILL" });
    await expect(receiver.bytes()).rejects.toMatchObject({ code: "ENOENT" });
    expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-new"]);
    // Whatever an earlier call has left there.
    await writeFile(join(receiver.dir, ".web.raw.qcowal-new"), Buffer.alloc(4 << 20, 0xff));
    expect(await receiveStream(receiver.target, stream)).toMatchObject({ result: "created" });
    expect((await receiver.bytes()).equals(states.content(4))).toBe(true);
    expect(await receiver.leftovers()).toEqual([]);
  });
});
