/** The command, with real NBD clients. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";

beforeAll(async () => {
  await requireQemu();
  requireBuiltCommand();
});

/** Runs the command. */
async function qcowal(...words: string[]) {
  const [program = "", ...args] = cli(...words);
  return run(program, args);
}

async function create(name: string, image: string): Promise<void> {
  expect(await qcowal("create", name, image, "-q")).toMatchObject({ code: 0 });
}

interface Served {
  readonly dir: string;
  readonly image: string;
  readonly server: ChildProcess;
  readonly uri: (name: string) => string;
}

const servers: ChildProcess[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.kill("SIGKILL");
});

/** A disk of which a file system was changed between two snapshots and since. */
async function serveOne(...more: string[]): Promise<Served> {
  const dir = await tempDir();
  const image = join(dir, "web.qcow2");
  const raw = join(dir, "fs.raw");
  const content = join(dir, "content");
  await mkdir(content);
  await must("truncate", ["-s", "16M", raw]);
  await must("sh", ["-c", `echo 'of last week' > ${content}/letter`]);
  await must("mkfs.ext4", ["-q", "-d", content, raw]);
  await must("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, image]);
  await create("last week", image);
  await must("qemu-io", ["-c", "write -P 7 4M 1M", image]);
  await create("yesterday", image);
  await must("qemu-io", ["-c", "write -P 9 8M 64k", image]);
  const socket = join(dir, "socket");
  const [program = "", ...args] = cli("serve", image, "--socket", socket, ...more);
  const server = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
  });
  servers.push(server);
  const lines = createInterface({ input: server.stderr });
  for await (const line of lines) if (line.startsWith("Serving")) break;
  const uri = (name: string): string => `nbd+unix:///${encodeURIComponent(name)}?socket=${socket}`;
  return { dir, image, server, uri };
}

describe("an image that is served", () => {
  test("has an export for the disk and one for each snapshot, each with what it held", async () => {
    const { dir, image, uri } = await serveOne();
    const { exports } = JSON.parse(await must("nbdinfo", ["--list", "--json", uri("")])) as {
      exports: { "export-name": string }[];
    };
    const names = ["web", "web@last week", "web@yesterday"];
    expect(exports.map((one) => one["export-name"])).toEqual(names);
    for (const name of names) {
      const [, snapshot] = name.split("@");
      const [served, converted] = [join(dir, "served"), join(dir, "converted")];
      await must("nbdcopy", [uri(name), served]);
      const which = snapshot === undefined ? [] : ["-l", snapshot];
      await must("qemu-img", ["convert", "-O", "raw", ...which, image, converted]);
      expect((await readFile(served)).equals(await readFile(converted)), name).toBe(true);
    }
  });

  test("gives a file of last week back, while the image stays untouched", async () => {
    const { dir, image, uri } = await serveOne();
    const before = await readFile(image);
    await must("nbdcopy", [uri("web@last week"), join(dir, "old.raw")]);
    expect(await must("debugfs", ["-R", "cat /letter", join(dir, "old.raw")])).toBe("of last week\n");
    expect((await readFile(image)).equals(before)).toBe(true);
  });

  test("tells what was changed since a snapshot, exact to the cluster", async () => {
    const { uri } = await serveOne("--changed-since", "last week");
    const map = async (name: string): Promise<unknown> =>
      JSON.parse(await must("nbdinfo", ["--json", "--map=qcowal:changed:last week", uri(name)]));
    const changed = (offset: number, length: number): object => ({ offset, length, type: 1 });
    const same = (offset: number, length: number): object => ({ offset, length, type: 0 });
    const MIB = 2 ** 20;
    const yesterday = [same(0, 4 * MIB), changed(4 * MIB, MIB), same(5 * MIB, 11 * MIB)];
    const matching = (entries: readonly object[]) => entries.map((entry) => expect.objectContaining(entry));
    expect(await map("web@yesterday")).toEqual(matching(yesterday));
    expect(await map("web")).toEqual(
      matching([
        ...yesterday.slice(0, 2),
        same(5 * MIB, 3 * MIB),
        changed(8 * MIB, 64 * 1024),
        same(8 * MIB + 64 * 1024, 8 * MIB - 64 * 1024),
      ]),
    );
  });

  test("cannot be changed until Ctrl-C, which ends it with 0 and takes the socket away", async () => {
    const { image, server, dir } = await serveOne();
    const refused = await qcowal("create", "new", image);
    expect(refused.code).toBe(5);
    server.kill("SIGINT");
    expect(await once(server, "exit")).toEqual([0, null]);
    expect(await run("test", ["-e", join(dir, "socket")])).toMatchObject({ code: 1 });
    await create("new", image);
  });
});

test("a snapshot that is not there is a refusal", async () => {
  const dir = await tempDir();
  const image = join(dir, "a.qcow2");
  await must("qemu-img", ["create", "-q", "-f", "qcow2", image, "1M"]);
  const refused = await qcowal("serve", image, "--socket", join(dir, "s"), "--changed-since", "never");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('has no snapshot "never"');
});
