import { describe, expect, test } from "vitest";
import type { NbdExport } from "../../src/nbd/index.ts";
import { MemoryGuestDisk, checkeredDisk } from "./support/guest-disk.ts";
import { type RawClient, go, option, request, setContexts, u32, u64 } from "./support/raw-client.ts";
import { useServers } from "./support/serving.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const [READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8,
];
const [EPERM, EIO, EINVAL, EOVERFLOW] = [1, 5, 22, 75];
const [FUA, DF, REQ_ONE] = [1, 4, 8];
const [DATA, HOLE, STATUS, ERROR] = [1, 2, 5, 0x8001];

const { start } = useServers();
const ascending = (a = 0, b = 0): number => a - b;
const newDisk = () => checkeredDisk(5 * MIB, 64 * KIB, 4);
const SIZE = 5 * MIB;

async function connected(disk: NbdExport["disk"] = newDisk(), limits = {}, ...contexts: readonly string[]) {
  const serving = await start({ exports: [{ name: "a", disk }], limits });
  return { ...serving, client: await serving.client().choose("a", ...contexts) };
}

/** The content that the chunks of a read make together. */
async function content(client: RawClient, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xee);
  for (const { type, data } of await client.chunks()) {
    const at = Number(data.readBigUInt64BE()) - offset;
    if (type === DATA) data.copy(bytes, at, 8);
    else if (type === HOLE) bytes.fill(0, at, at + data.readUInt32BE(8));
    else throw new Error(`a chunk of type ${type}`);
  }
  return bytes;
}

describe("refused is", () => {
  test.each([
    ["TRIM", { type: TRIM, length: 512 }, EPERM],
    ["WRITE_ZEROES", { type: WRITE_ZEROES, length: 512 }, EPERM],
    ["RESIZE", { type: RESIZE, length: 512 }, EPERM],
    ["FLUSH", { type: FLUSH }, EINVAL],
    ["an unknown command", { type: 99 }, EINVAL],
    ["a read behind the end", { type: READ, offset: SIZE - 511, length: 512 }, EINVAL],
    ["a read at the end of the world", { type: READ, offset: 2n ** 64n - 1n, length: 512 }, EINVAL],
    ["an empty read behind the end", { type: READ, offset: SIZE + 1 }, EINVAL],
    ["a read of more than 32 MiB", { type: READ, length: 32 * MIB + 1 }, EINVAL],
    ["an unfragmented read of more than 32 MiB", { type: READ, flags: DF, length: 0xffffffff }, EOVERFLOW],
    ["a read with FUA", { type: READ, flags: FUA, length: 512 }, EINVAL],
    ["a cache behind the end", { type: CACHE, offset: SIZE, length: 1 }, EINVAL],
    ["a cache with a flag", { type: CACHE, flags: DF, length: 1 }, EINVAL],
    ["a block status without contexts", { type: BLOCK_STATUS, length: 1 }, EINVAL],
  ])("%s, and the next request is answered", async (_, fields, errno) => {
    const { client } = await connected();
    client.send(request({ ...fields, cookie: 21 }), request({ type: READ, length: 10 }));
    const [error] = await client.chunks();
    expect(error).toMatchObject({ type: ERROR, cookie: 21, done: true });
    expect(error?.data.readUInt32BE()).toBe(errno);
    expect(await content(client, 0, 10)).toHaveLength(10);

    const serving = await start({ exports: [{ name: "a", disk: newDisk() }] });
    const plain = await serving.client().greet();
    plain.send(go("a"), request({ ...fields, cookie: 22 }));
    await plain.replies();
    expect(await plain.simple()).toEqual({ errno: errno === EOVERFLOW ? EINVAL : errno, cookie: 22 });
  });

  test("a write, whose content is no request", async () => {
    const { client } = await connected();
    client.send(
      request({ type: WRITE, length: 300_000 }),
      Buffer.alloc(300_000, request({ type: READ, length: 1 })),
    );
    client.send(request({ type: CACHE, length: 1, cookie: 9 }));
    expect((await client.chunks())[0]?.data.readUInt32BE()).toBe(EPERM);
    expect(await client.chunks()).toMatchObject([{ cookie: 9, type: 0 }]);
  });

  test("DF where no structured replies were negotiated", async () => {
    const { client } = await start({ exports: [{ name: "a", disk: newDisk() }] });
    const plain = await client().greet();
    plain.send(go("a"), request({ type: READ, flags: DF, length: 512 }));
    await plain.replies();
    expect(await plain.simple()).toMatchObject({ errno: EINVAL });
  });

  test("block status with nothing asked", async () => {
    const { client } = await connected(newDisk(), {}, "base:allocation");
    client.send(request({ type: BLOCK_STATUS }));
    expect((await client.chunks())[0]?.data.readUInt32BE()).toBe(EINVAL);
  });
});

describe("a read", () => {
  test("leaves holes out, and with DF is one chunk", async () => {
    const disk = newDisk();
    const { client } = await connected(disk);
    client.send(request({ type: READ, offset: 1000, length: 3 * MIB }));
    expect((await content(client, 1000, 3 * MIB)).equals(disk.content.subarray(1000, 1000 + 3 * MIB))).toBe(
      true,
    );
    client.send(request({ type: READ, length: 3 * MIB }));
    const chunks = await client.chunks();
    const sent = chunks
      .filter(({ type }) => type === DATA)
      .reduce((sum, { data }) => sum + data.length - 8, 0);
    expect(chunks.some(({ type }) => type === HOLE)).toBe(true);
    expect(sent).toBeLessThan(2.5 * MIB);
    client.send(request({ type: READ, flags: DF, length: 3 * MIB }));
    const whole = await client.chunks();
    expect(whole).toMatchObject([{ type: DATA, done: true }]);
    expect(whole[0]?.data.subarray(8).equals(disk.content.subarray(0, 3 * MIB))).toBe(true);
  });

  test("of nothing is answered with nothing", async () => {
    const { client } = await connected();
    client.send(request({ type: READ, offset: SIZE }));
    expect(await client.chunks()).toMatchObject([{ type: 0, done: true }]);
  });

  test("that fails before, in and after parts of it is an error that names no file", async () => {
    const disk = newDisk();
    disk.beforeRead = (offset) => {
      if (offset >= 2 * MIB) throw new Error("EIO: /secret/image.qcow2");
    };
    const { client, told } = await connected(disk);
    client.send(request({ type: READ, offset: MIB, length: 2 * MIB }));
    const chunks = await client.chunks();
    expect(chunks.length).toBeGreaterThan(1);
    expect(chunks.at(-1)?.data.readUInt32BE()).toBe(EIO);
    expect(chunks.at(-1)?.data.toString()).not.toContain("secret");
    client.send(request({ type: READ, length: 8 }));
    expect(await content(client, 0, 8)).toHaveLength(8);
    expect(told).toMatchObject([{ message: "EIO: /secret/image.qcow2", export: "a" }]);
  });

  test("that fails in the middle of a simple reply ends the connection", async () => {
    const disk = newDisk();
    disk.beforeRead = (offset) => {
      if (offset >= 2 * MIB) throw new Error("broken");
    };
    const serving = await start({ exports: [{ name: "a", disk }] });
    const client = await serving.client().greet();
    client.send(go("a"), request({ type: READ, length: 512 }), request({ type: READ, length: 3 * MIB }));
    await client.replies();
    expect(await client.simple()).toMatchObject({ errno: 0 });
    await client.must(512);
    await client.end();
    await expect
      .poll(() => serving.told.map(({ message }) => message))
      .toEqual(["broken", expect.stringContaining("no end")]);
    const other = await serving.client().choose("a");
    other.send(request({ type: READ, length: 8 }));
    await other.chunks();
  });

  test("is answered before an earlier one that takes longer, within the limit of requests", async () => {
    const disk = new MemoryGuestDisk(Buffer.alloc(MIB, 1), [
      { offset: 0, length: MIB, kind: "data", depth: 0 },
    ]);
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    disk.beforeRead = async (offset) => {
      if (offset < 3) await gate;
    };
    const { client } = await connected(disk, { requests: 3 });
    for (const offset of [0, 1, 10, 2, 11])
      client.send(request({ type: READ, offset, length: 1, cookie: offset }));
    expect(await client.chunks()).toMatchObject([{ cookie: 10 }]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    // 0, 1 and 2 fill the limit: 11 is not even begun.
    expect(disk.reads).toBe(4);
    release();
    const rest = [];
    for (let count = 0; count < 4; count += 1) rest.push((await client.chunks())[0]?.cookie);
    expect(rest.toSorted(ascending)).toEqual([0, 1, 2, 11]);
  });

  test("of 32 MiB with less room for content than that comes whole, among others", async () => {
    const disk = new MemoryGuestDisk(Buffer.alloc(32 * MIB, "abcdefg"), [
      { offset: 0, length: 32 * MIB, kind: "data", depth: 0 },
    ]);
    const { client } = await connected(disk, { bufferedBytes: 100_000 });
    for (let cookie = 0; cookie < 3; cookie += 1)
      client.send(
        request({ type: READ, flags: DF, length: 32 * MIB, cookie }),
        request({ type: READ, length: 9, cookie: 9 }),
      );
    const cookies = [];
    for (let count = 0; count < 6; count += 1) {
      const [chunk] = await client.chunks();
      cookies.push(chunk?.cookie);
      const wanted = disk.content.subarray(0, chunk?.cookie === 9 ? 9 : 32 * MIB);
      expect(chunk?.data.subarray(8).equals(wanted)).toBe(true);
    }
    expect(cookies.toSorted(ascending)).toEqual([0, 1, 2, 9, 9, 9]);
  });
});

describe("block status", () => {
  const statuses = (data: Buffer) =>
    Array.from({ length: (data.length - 4) / 8 }, (_, index) => [
      data.readUInt32BE(4 + index * 8),
      data.readUInt32BE(8 + index * 8),
    ]);

  test("is cut to the limit of descriptors and goes on from there", async () => {
    const { client } = await connected(newDisk(), { descriptors: 3 }, "base:allocation");
    const flags: number[] = [];
    for (let at = 0; at < SIZE;) {
      client.send(request({ type: BLOCK_STATUS, offset: at, length: SIZE - at }));
      const [chunk] = await client.chunks();
      const found = statuses(chunk?.data ?? Buffer.alloc(0));
      expect(chunk?.type).toBe(STATUS);
      expect(found.length).toBeLessThanOrEqual(3);
      for (const [length = 0, flag = 0] of found) {
        for (let block = 0; block < length; block += 64 * KIB) flags.push(flag);
        at += length;
      }
    }
    const wanted: number[] = [];
    for await (const { length, kind } of newDisk().extents(0, SIZE))
      for (let block = 0; block < length; block += 64 * KIB)
        wanted.push(kind === "hole" || kind === "zero" ? 3 : 0);
    expect(flags).toEqual(wanted);
  });

  test("with REQ_ONE is one descriptor that stays inside of what was asked", async () => {
    const { client } = await connected(newDisk(), {}, "base:allocation");
    client.send(request({ type: BLOCK_STATUS, flags: REQ_ONE, offset: 5, length: 100 }));
    expect(statuses((await client.chunks())[0]?.data ?? Buffer.alloc(0))).toEqual([[100, 0]]);
  });

  test("of a disk cut into more ranges than anybody looks through ends early", async () => {
    const disk = newDisk();
    let yielded = 0;
    disk.extents = async function* (offset, length) {
      for (let at = offset; at < offset + length; at += 1, yielded += 1)
        yield { offset: at, length: 1, kind: "data", depth: 0 };
    };
    const { client } = await connected(disk, {}, "base:allocation");
    client.send(request({ type: BLOCK_STATUS, length: SIZE }));
    const [[length = 0] = []] = statuses((await client.chunks())[0]?.data ?? Buffer.alloc(0));
    expect(length).toBeGreaterThan(0);
    expect(yielded).toBeLessThanOrEqual(65_536);
  });

  test("knows no contexts that were chosen for another export", async () => {
    const disk = newDisk();
    const serving = await start({ exports: ["a", "b"].map((name) => ({ name, disk })) });
    const client = await serving.client().greet();
    client.send(option(8), setContexts("a", "base:allocation"), go("b"));
    for (let count = 0; count < 3; count += 1) await client.replies();
    client.send(request({ type: BLOCK_STATUS, length: 1 }));
    expect((await client.chunks())[0]).toMatchObject({ type: ERROR });
  });
});

test("a client that takes leave, or ends its side, is still answered what it asked", async () => {
  for (const goodbye of [true, false]) {
    const disk = newDisk();
    disk.beforeRead = () => new Promise((resolve) => setTimeout(resolve, 30));
    const { client, told } = await connected(disk);
    client.send(request({ type: READ, flags: DF, length: 100 }));
    if (goodbye) client.send(request({ type: DISC }));
    else client.socket.end();
    expect(await client.chunks()).toMatchObject([{ type: DATA }]);
    await client.end();
    expect(told).toEqual([]);
  }
});

test("what is no request ends the connection", async () => {
  const { client, told } = await connected();
  client.send(u32(0x12345678), u64(0), u64(0), u64(0));
  await client.end();
  expect(told).toMatchObject([{ message: "what it sends is no request", export: "a" }]);
});
