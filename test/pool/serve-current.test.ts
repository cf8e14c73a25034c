/** What clients of a server without locks see of a disk that is reverted, resized or written to meanwhile. */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { type ImageServer, type Pool, serveImages } from "../../src/index.ts";
import { RawClient, request, u32 } from "../nbd/support/raw-client.ts";
import { must } from "../support/programs.ts";
import { createImage, io, judge, requireQemu } from "../support/qemu.ts";
import { poolIn, scratch } from "./lab.ts";

beforeAll(requireQemu);

const MIB = 1024 * 1024;
const ESHUTDOWN = 108;
const READ = 0;
const BLOCK_STATUS = 7;

interface Serving {
  readonly image: string;
  readonly pool: Pool;
  readonly server: ImageServer;
  readonly told: string[];
}

/** "one" is 64 MiB of ones at its beginning; the disk is larger, and holds twos. */
async function serving(): Promise<Serving> {
  const dir = await scratch();
  const image = join(dir, "web.qcow2");
  await createImage(image, { size: "64M" });
  await io(image, "write -P 1 0 1M");
  const pool = await poolIn(dir);
  await pool.create(image, "one");
  await must("qemu-img", ["resize", "-q", "-f", "qcow2", image, "96M"]);
  await io(image, "write -P 2 0 512k", "write -P 3 80M 64k");
  const told: string[] = [];
  const server = await serveImages([image], {
    listen: { socket: join(dir, "socket") },
    forceShare: true,
    changedSince: "one",
    onError: (error) => told.push(error instanceof Error ? error.message : String(error)),
  });
  onTestFinished(() => server.close());
  return { image, pool, server, told };
}

const reads = (uri: string, ...commands: string[]): Promise<string> =>
  must("qemu-io", ["-r", "-f", "raw", ...commands.flatMap((command) => ["-c", command]), uri]);

const sizeOf = async (uri: string): Promise<number> => Number(await must("nbdinfo", ["--size", uri]));

/** A qemu-io that stays connected. */
function staying(uri: string): (command: string) => Promise<string> {
  const child = spawn("qemu-io", ["-r", "-f", "raw", uri], { stdio: ["pipe", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  child.stdin.on("error", () => undefined);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => lines.push(line));
  return async (command) => {
    const before = lines.length;
    child.stdin.write(`${command}\n`);
    await expect
      .poll(() => lines.slice(before).join("\n"), { timeout: 20_000 })
      .toMatch(/read \d+\/\d+ bytes|failed|error/);
    return lines.slice(before).join("\n");
  };
}

test("a disk that is reverted is served as it is then to who connects, and who was connected gets an error", async () => {
  const { image, pool, server, told } = await serving();
  const uri = server.uri("web");
  const early = staying(uri);
  expect(await sizeOf(uri)).toBe(96 * MIB);
  expect(await early("read -P 2 0 64k")).toContain("read 65536/65536");
  expect(await reads(uri, "read -P 2 0 512k", "read -P 3 80M 64k")).not.toMatch(/fail/i);
  const descriptors = readdirSync("/proc/self/fd").length;

  await pool.revert(image, "one", { keep: "two" });
  expect(await sizeOf(uri)).toBe(64 * MIB);
  expect(await reads(uri, "read -P 1 0 1M")).not.toMatch(/fail/i);
  expect(JSON.parse(await must("nbdinfo", ["--map=qcowal:changed:one", "--json", uri]))).toMatchObject([
    { offset: 0, length: 64 * MIB, type: 0 },
  ]);
  // Neither what was there nor what is there now: it has to connect again.
  expect(await early("read 0 64k")).toMatch(/failed|error/);
  await expect.poll(() => server.connections).toBe(0);
  expect(told).toEqual([expect.stringContaining("was reverted, resized")]);
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(descriptors);
  expect(await reads(server.uri("web@one"), "read -P 1 0 1M")).not.toMatch(/fail/i);

  // Again, and back: the L1 table may come to a place where it was before.
  await pool.revert(image, "two");
  expect(await sizeOf(uri)).toBe(96 * MIB);
  expect(await reads(uri, "read -P 2 0 512k", "read -P 1 512k 512k")).not.toMatch(/fail/i);
  await server.close();
  await judge(image);
});

test("what is in flight when the disk is reverted is answered with what it was, or with an error", async () => {
  const { image, pool, server, told } = await serving();
  const client = new RawClient(server);
  onTestFinished(() => void client.socket.destroy());
  await client.choose("web", "base:allocation", "qcowal:changed:one");
  const length = 65536;
  const ask = (count: number): void => {
    for (let cookie = 1; cookie <= count; cookie += 1)
      client.send(request({ type: READ, flags: 4, cookie, offset: (cookie % 8) * length, length }));
  };
  const reverting = pool.revert(image, "one");
  let over = 0;
  while (over === 0) {
    ask(16);
    for (let answer = 0; answer < 16 && over === 0; answer += 1) {
      const [chunk] = await client.chunks();
      if (chunk?.type === 1) {
        expect(chunk.data.subarray(8).equals(Buffer.alloc(length, 2))).toBe(true);
      } else {
        over += 1;
        expect(chunk?.data.subarray(0, 4)).toEqual(u32(ESHUTDOWN));
      }
    }
    if (over === 0) await new Promise(setImmediate);
  }
  await reverting;
  await client.end();
  await expect.poll(() => server.connections).toBe(0);
  expect(told).toHaveLength(1);
});

test.each(["base:allocation", "qcowal:changed:one"])(
  "a client that asks for %s behind a revert gets an error, not the map of another disk",
  async (context) => {
    const { image, pool, server } = await serving();
    const client = new RawClient(server);
    onTestFinished(() => void client.socket.destroy());
    await client.choose("web", context);
    await pool.revert(image, "one");
    client.send(request({ type: BLOCK_STATUS, length: MIB }));
    const [chunk] = await client.chunks();
    expect(chunk?.data.subarray(0, 4)).toEqual(u32(ESHUTDOWN));
    await client.end();
    const next = await new RawClient(server).choose("web", context);
    onTestFinished(() => void next.socket.destroy());
    next.send(request({ type: BLOCK_STATUS, length: MIB }));
    expect((await next.chunks())[0]?.type).toBe(5);
  },
);

test("a disk that cannot be opened again is refused, said so, and served when it can", async () => {
  const { image, pool, server, told } = await serving();
  await pool.revert(image, "one");
  const aside = `${image}.aside`;
  await must("mv", [image, aside]);
  const client = new RawClient(server);
  onTestFinished(() => void client.socket.destroy());
  await expect(client.choose("web")).rejects.toThrow("the disk cannot be opened there");
  expect(told.length).toBeGreaterThan(0);
  for (const message of told) expect(message).toContain("web.qcow2");
  await must("mv", [aside, image]);
  expect(await sizeOf(server.uri("web"))).toBe(64 * MIB);
});
