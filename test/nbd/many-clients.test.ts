/** A server of real images, in a process of its own, and hundreds of clients of every kind. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import type { NbdServer } from "../../src/nbd/index.ts";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { Lab } from "../cli/lab.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { RawClient, request } from "./support/raw-client.ts";

beforeAll(requireBuiltCommand);

const SNAPSHOTS = 24;
const ROUNDS = 15;
/** What those of a round may cost by the limits of a connection; of a leak, hundreds of them would be held. */
const MAX_RSS_MIB = 400;
/** Views that a server keeps open, each of one file here. */
const MAX_VIEWS = 16;

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 << 20,
  snapshots: Array.from({ length: SNAPSHOTS }, (_, index) => ({
    name: `s${index}`,
    changes: [
      { at: index * 20, count: 40, kind: index % 2 === 0 ? "data" : "compressed", seed: index } as const,
    ],
  })),
};

const descriptorsOf = ({ pid }: ChildProcess): number => readdirSync(`/proc/${pid}/fd`).length;
const peakMiB = ({ pid }: ChildProcess): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

const READ = { type: 0, flags: 4 } as const;

test(
  "hundreds of good, slow, silent, half open and vanished clients leave nothing behind",
  { timeout: 120_000 },
  async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC });
    const image = await lab.bytes();
    const [node = "", ...args] = cli("serve", "a.qcow2", "--port", "0", "--max-connections", "60", "--json");
    const server = spawn(node, args, { cwd: lab.dir, stdio: ["ignore", "pipe", "ignore"] });
    onTestFinished(() => void server.kill("SIGKILL"));
    const [said] = (await once(server.stdout, "data")) as [Buffer];
    const { address } = JSON.parse(said.toString()) as Pick<NbdServer, "address">;
    const atFirst = descriptorsOf(server);
    const clients: RawClient[] = [];
    const client = (): RawClient => {
      const made = new RawClient({ address } as NbdServer);
      clients.push(made);
      return made;
    };

    /** Reads 64 KiB of a snapshot, and whatever else is asked of it. */
    const good = async (index: number, leave: (made: RawClient) => void): Promise<void> => {
      const position = index % SNAPSHOTS;
      const made = await client().choose(`a@s${position}`);
      const offset = position * 20 * 4096;
      made.send(request({ ...READ, offset, length: 65_536 }));
      leave(made);
      const [chunk] = await made.chunks();
      const expected = readRoot(image, position).subarray(offset, offset + 65_536);
      expect(Buffer.compare(chunk?.data.subarray(8) ?? Buffer.alloc(0), expected)).toBe(0);
    };
    const kinds: readonly ((index: number) => Promise<void>)[] = [
      (index) => good(index, () => undefined),
      // Its side is closed when the answer comes.
      (index) => good(index, ({ socket: own }) => own.end()),
      async () => void client(),
      async () => void (await client().greet()),
      async (index) => {
        const made = await client().choose(`a@s${index % SNAPSHOTS}`);
        for (let cookie = 0; cookie < 8; cookie += 1)
          made.send(request({ ...READ, cookie, length: 1 << 20 }));
        await made.must(20);
        made.socket.resetAndDestroy();
      },
      async (index) => {
        const made = await client().choose(`a@s${index % SNAPSHOTS}`);
        made.socket.pause();
        for (let cookie = 0; cookie < 8; cookie += 1)
          made.send(request({ ...READ, cookie, length: 2 << 20 }));
      },
      async () => void client().send(Buffer.alloc(300, 7)),
    ];

    for (let round = 0; round < ROUNDS; round += 1) {
      const made: Promise<void>[] = [];
      for (let index = 0; index < 28; index += 1) {
        made.push((kinds[index % kinds.length] ?? kinds[0])?.(round * 28 + index) ?? Promise.resolve());
      }
      await Promise.all(made);
      for (const { socket: own } of clients.splice(0)) own.destroy();
      await expect
        .poll(() => descriptorsOf(server), { timeout: 10_000 })
        .toBeLessThanOrEqual(atFirst + MAX_VIEWS);
    }
    expect(peakMiB(server)).toBeLessThan(MAX_RSS_MIB);
    console.log(
      `${atFirst} descriptors at first, ${descriptorsOf(server)} now, ${peakMiB(server).toFixed(0)} MiB`,
    );
    const ended = once(server, "exit");
    server.kill("SIGINT");
    expect(await ended).toEqual([0, null]);
    expect((await readdir(lab.dir)).toSorted()).toEqual(["a.qcow2"]);
  },
);
