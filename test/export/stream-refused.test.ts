import { truncate, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { Chain, MAGIC, encodeFrameHead } from "../../src/export/stream/wire.ts";
import { receiveStream } from "../../src/index.ts";
import { seededRandom } from "../support/random.ts";
import { Receiver, States, dribble, read } from "./stream-lab.ts";

const states = new States();

const STREAM_INVALID = expect.objectContaining({ code: "STREAM_INVALID" }) as unknown;

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
