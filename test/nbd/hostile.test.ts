import { readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { seededRandom } from "../support/random.ts";
import { MemoryGuestDisk } from "./support/guest-disk.ts";
import { type RawClient, go, option, request, setContexts, text, u16, u32 } from "./support/raw-client.ts";
import { type Serving, useServers } from "./support/serving.ts";

const MIB = 1024 * 1024;
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_261_125);
const READ = 0;
const DF = 4;

const disk = new MemoryGuestDisk(Buffer.alloc(32 * MIB, "content"), [
  { offset: 0, length: 32 * MIB, kind: "data", depth: 0 },
]);
const exports = [{ name: "a", disk }];

const descriptors = (): number => readdirSync("/proc/self/fd").length;
let before = 0;
beforeEach(() => {
  before = descriptors();
});
afterEach(async () => {
  await expect.poll(descriptors, { timeout: 5000 }).toBe(before);
});
// Its own hooks run before those above, which count what is left.
const { start } = useServers();

/** Whoever behaves is served, whatever others do. */
async function wellServed({ client }: Serving): Promise<void> {
  const good = await client().choose("a", "base:allocation");
  good.send(request({ type: READ, flags: DF, offset: 7, length: 14 }));
  const [chunk] = await good.chunks();
  expect(chunk?.data.subarray(8).toString()).toBe("contentcontent");
  good.socket.destroy();
}

const settled = async (serving: Serving): Promise<void> => {
  await expect.poll(() => serving.server.connections, { timeout: 15_000 }).toBe(0);
};

/** A sound conversation, to be spoiled. */
const sound = (): Buffer[] => [
  u32(3),
  option(3),
  option(8),
  option(9, Buffer.concat([text("a"), u32(0)])),
  setContexts("a", "base:allocation", "qcowal:changed:x"),
  option(6, Buffer.concat([text("a"), u16(2), u16(1), u16(3)])),
  go("a"),
  request({ type: READ, offset: 100, length: 5000 }),
  request({ type: 7, length: 1 * MIB }),
  request({ type: 1, length: 600 }),
  Buffer.alloc(600, 7),
  request({ type: 5, length: 600 }),
  request({ type: READ, flags: DF, length: 70_000 }),
  request({ type: 2 }),
];

test(
  "a thousand spoiled conversations neither end the server nor stay with it",
  { timeout: 60_000 },
  async () => {
    console.log(`seed ${SEED}`);
    const serving = await start({ exports, limits: { handshakeTime: 2000, connections: 1000 } });
    const random = seededRandom(SEED);
    const spoil = (parts: Buffer[]): Buffer => {
      if (random.chance(0.3)) parts = random.shuffle(parts.slice(1));
      if (random.chance(0.3)) parts.splice(random.int(parts.length), 1);
      if (random.chance(0.3)) parts.splice(random.int(parts.length), 0, random.pick(parts));
      const bytes = Buffer.concat(parts);
      for (let count = random.int(4); count > 0; count -= 1) {
        const at = random.int(bytes.length);
        bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.int(256)]);
      }
      return random.chance(0.3) ? bytes.subarray(0, random.int(bytes.length)) : bytes;
    };
    for (let round = 0; round < 20; round += 1) {
      const clients: RawClient[] = [];
      for (let count = 0; count < 50; count += 1) {
        const client = serving.client();
        clients.push(client);
        client.send(spoil(sound()));
        const leave = random.int(3);
        if (leave === 0) client.socket.end();
        else if (leave === 1) client.socket.resetAndDestroy();
      }
      await wellServed(serving);
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (const client of clients) client.socket.destroy();
    }
    await settled(serving);
    // What a spoiled client is told of is itself, never that the server failed.
    for (const { message } of serving.told)
      expect(message).not.toMatch(/undefined|not a function|RangeError|ERR_/);
  },
);

test("clients that negotiate without end are dropped in time", async () => {
  const serving = await start({ exports, limits: { handshakeTime: 300 } });
  const silent = serving.client();
  const half = await serving.client().greet();
  half.send(Buffer.from("IHAVE"));
  const busy = await serving.client().greet();
  const asking = setInterval(() => busy.send(option(3)), 20);
  await wellServed(serving);
  await Promise.all([silent.end(), half.end(), busy.end()]);
  clearInterval(asking);
  await settled(serving);
  expect(serving.told.map(({ message }) => message)).toEqual(Array(3).fill("it took too long to negotiate"));
});

test("a crowd that negotiates gives way to others; who reads is never dropped for it", async () => {
  const serving = await start({ exports, limits: { connections: 8 } });
  const reading = await serving.client().choose("a");
  const crowd = Array.from({ length: 30 }, () => serving.client());
  await Promise.all(crowd.slice(0, 20).map((client) => client.end()));
  await wellServed(serving);
  expect(serving.server.connections).toBeLessThanOrEqual(8);
  reading.send(request({ type: READ, length: 7 }));
  expect(await reading.chunks()).toMatchObject([{ type: 1 }]);

  const readers = [];
  while (serving.server.connections < 8 || readers.length < 7)
    readers.push(await serving.client().choose("a"));
  const late = serving.client();
  await late.end();
  expect(serving.told.at(-1)?.message).toBe("there are 8 clients already");
});

describe("clients that ask and do not read", () => {
  test.each([
    ["in parts", true],
    ["whole", false],
  ])("%s cost little memory, and are dropped", { timeout: 30_000 }, async (_, structured) => {
    // Longer than this process may stand still on a busy machine: whoever behaves would be dropped too.
    const serving = await start({ exports, limits: { stallTime: 4000, bufferedBytes: 2 * MIB } });
    global.gc?.();
    const memory = process.memoryUsage().arrayBuffers;
    const slow = Array.from({ length: 8 }, () => serving.client());
    for (const client of slow) {
      if (structured) await client.choose("a");
      else {
        await client.greet();
        client.send(go("a"));
        await client.replies();
      }
      client.socket.pause();
      for (let count = 0; count < 200; count += 1) client.send(request({ type: READ, length: 32 * MIB }));
    }
    await wellServed(serving);
    await new Promise((resolve) => setTimeout(resolve, 500));
    // 50 GiB were asked for.
    expect(process.memoryUsage().arrayBuffers - memory).toBeLessThan(128 * MIB);
    await wellServed(serving);
    await settled(serving);
    expect(serving.told.map(({ message }) => message)).toEqual(Array(8).fill("it does not read its replies"));
  });

  test("but one that reads slowly is not", async () => {
    const serving = await start({ exports, limits: { stallTime: 1500 } });
    const slow = await serving.client().choose("a");
    slow.send(request({ type: READ, length: 16 * MIB }));
    for (let count = 0; count < 12; count += 1) {
      slow.socket.pause();
      await new Promise((resolve) => setTimeout(resolve, 200));
      slow.socket.resume();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const chunks = await slow.chunks();
    expect(chunks.reduce((sum, { data }) => sum + data.length - 8, 0)).toBe(16 * MIB);
    expect(serving.told).toEqual([]);
  });
});

test("a client that goes away in the middle of everything leaves nothing behind", async () => {
  const serving = await start({ exports });
  for (let count = 0; count < 30; count += 1) {
    const client = await serving.client().choose("a");
    for (let cookie = 0; cookie < 20; cookie += 1)
      client.send(request({ type: READ, length: 4 * MIB, cookie }));
    await client.must(20);
    client.socket.resetAndDestroy();
  }
  await wellServed(serving);
  await settled(serving);
  expect(serving.told).toEqual([]);
});
