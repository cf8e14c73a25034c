/** The malformed images of QEMU's own tests 080 and 261: what qemu makes of each, measured, beside what we do. */
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { qcowal } from "../support/in-process.ts";
import { run } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { type Answers, type Case, HEADERS } from "./malformed-cases.ts";
import { MalformedImages, type Recipe, copySparse, tableIn } from "./malformed-images.ts";
import { PRETENDED_V3, SNAPSHOT_TABLES } from "./malformed-tables.ts";

/** Also what takes qemu seconds. */
const isLong = process.env["QCOWAL_MALFORMED_ALL"] === "1";

let images: MalformedImages;
let bases: string;

beforeAll(async () => {
  await requireQemu();
  bases = await mkdtemp(join(tmpdir(), "qcowal-malformed-"));
  images = new MalformedImages(bases);
});

afterAll(() => rm(bases, { recursive: true, force: true }));

interface Answer {
  readonly code: number | string | null;
  readonly text: string;
}

async function qemuImg(...args: readonly string[]): Promise<Answer> {
  const { code, stdout, stderr } = await run("qemu-img", args);
  return { code, text: stderr + stdout };
}

/** An error in its stable code: the exit code is shared with others. */
async function ours(...args: readonly string[]): Promise<Answer> {
  const { code, stdout, stderr } = await qcowal(...args, "--json");
  if (stdout !== "") return { code, text: stderr + JSON.stringify(JSON.parse(stdout)) };
  const { error } = JSON.parse(stderr) as { error: { code: string; message: string } };
  return { code: args[0] === "check" ? code : error.code, text: error.message };
}

/** The answer that was expected, or what came instead. */
function judged(expected: string, { code, text }: Answer): string {
  const [expectedCode, words = ""] = expected.split(/: (.*)/s);
  const isIt = String(code) === expectedCode && words.split(" | ").every((part) => text.includes(part));
  return isIt ? expected : `${code}: ${text.slice(0, 1000)}`;
}

const stateOf = async (path: string): Promise<readonly bigint[]> => {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return [size, mtimeNs];
};

/** Every request that may write gets a copy of its own. */
class Requests {
  readonly dir: string;
  readonly image: string;

  constructor(dir: string) {
    this.dir = dir;
    this.image = join(dir, "a.qcow2");
  }

  copy(name: string): string {
    return join(this.dir, `${name}.qcow2`);
  }

  async onCopy(name: string, request: (copy: string) => Promise<Answer>): Promise<Answer> {
    await copySparse(this.image, this.copy(name));
    return request(this.copy(name));
  }

  /** One of ours: what is refused writes nothing. */
  async ours(name: string, ...words: readonly string[]): Promise<Answer> {
    return this.onCopy(name, async (copy) => {
      const before = await stateOf(copy);
      const answer = await ours(...words, copy);
      if (typeof answer.code === "string") expect.soft(await stateOf(copy), name).toEqual(before);
      return answer;
    });
  }
}

async function requestsOn(recipe: Recipe): Promise<Requests> {
  const requests = new Requests(await tempDir());
  await images.make(requests.image, recipe);
  return requests;
}

async function expectClean(path: string, isSlow: boolean): Promise<void> {
  expect(await ours("check", path)).toMatchObject({ code: 0 });
  if (!isSlow || isLong) expect(await qemuImg("check", path)).toMatchObject({ code: 0 });
}

async function askQemu(row: Case, requests: Requests): Promise<Record<string, string>> {
  const { slow = [] } = row;
  const requested: Record<keyof Answers, () => Promise<Answer>> = {
    open: () => qemuImg("info", "-f", "qcow2", requests.image),
    check: () => qemuImg("check", "-f", "qcow2", requests.image),
    create: () => requests.onCopy("qemu-create", (copy) => qemuImg("snapshot", "-c", "new", copy)),
    repair: () => requests.onCopy("qemu-repair", (copy) => qemuImg("check", "-r", "all", copy)),
  };
  const said: Record<string, string> = { ...row.qemu };
  for (const key of ["open", "check", "create", "repair"] as const) {
    if (isLong || !slow.includes(key)) said[key] = judged(row.qemu[key], await requested[key]());
  }
  return said;
}

async function askUs(row: Case, requests: Requests): Promise<Record<string, string>> {
  const said: Record<string, string> = {};
  const words = {
    open: ["list"],
    check: ["check"],
    create: ["create", "new"],
    repair: ["repair"],
    drop: ["repair", "--drop-damaged-snapshots"],
  };
  for (const [name, command] of Object.entries(words)) {
    const expected = row.ours[name as keyof typeof words];
    if (expected === undefined) continue;
    const answer = await requests.ours(name, ...command);
    said[name] = judged(expected, answer);
    const isClean = command[0] === "repair" && answer.code === 0;
    if (isClean) await expectClean(requests.copy(name), row.slow !== undefined);
  }
  return said;
}

describe.each([
  ["test 080", HEADERS],
  ["test 261", SNAPSHOT_TABLES],
])("%s:", (_, cases) => {
  test.each(cases)("$name", async (row) => {
    const requests = await requestsOn(row);
    const [qemu, us] = await Promise.all([askQemu(row, requests), askUs(row, requests)]);
    expect.soft(qemu, "qemu").toEqual(row.qemu);
    expect.soft(us, "ours").toEqual(row.ours);
  });
});

describe("test 080: all that needs the snapshot is refused when its L1 table", () => {
  test.each([
    ["is at an odd place", { snapshotL1Offset: 0x40_0200 }, "offset invalid"],
    ["has 2^28 entries", { snapshotL1Size: 0x1000_0000 }, "too large"],
  ] as const)("%s", async (_, pokes, words) => {
    const requests = await requestsOn({ base: "snapshot", pokes });
    const { image } = requests;
    const failed = {
      code: 1,
      text: expect.stringMatching(new RegExp(`Snapshot L1 table ${words}`, "i")) as unknown,
    };
    const raw = join(requests.dir, "raw");
    const reading = ["-l", "snapshot.name=test", "-O", "raw"];
    expect(await qemuImg("convert", ...reading, image, raw)).toMatchObject(failed);
    for (const letter of ["-a", "-d"]) {
      expect(
        await requests.onCopy("qemu", (copy) => qemuImg("snapshot", letter, "test", copy)),
      ).toMatchObject(failed);
    }
    const amend = (copy: string) => qemuImg("amend", "-o", "compat=0.10", copy);
    expect(await requests.onCopy("qemu", amend)).toMatchObject(failed);
    const open = (copy: string) => `open -o overlap-check.inactive-l2=on ${copy}`;
    const write = (copy: string) => run("qemu-io", ["-c", open(copy), "-c", "write 0 4k"]);
    const { stdout, stderr } = await write(image);
    expect(stderr + stdout).toMatch(/write failed/);
    for (const command of ["revert", "delete"]) {
      const answer = await requests.ours("ours", command, "test");
      expect(answer).toMatchObject({
        code: "IMAGE_INVALID",
        text: expect.stringMatching(new RegExp(`L1 table ${words}`)) as unknown,
      });
    }
  });
});

/** What an entry says, and the extra data that no qemu knows. */
async function entriesOf(path: string): Promise<unknown[]> {
  return tableIn(await readFile(path)).map(({ extra, id, name }) => [
    `${name} (${id})`,
    extra.readBigUInt64BE(8),
    extra.readBigInt64BE(16),
    extra.toString("latin1", 24),
  ]);
}

describe("test 261: entries of older qemus become whole, and keep what is unknown,", () => {
  const SIZE = 67_108_864n;
  const sn0 = ["sn0 (1)", SIZE, -1n, ""];
  const sn1 = ["sn1 (2)", SIZE, 0n, "very important data".padEnd(26, "\0")];
  const sn2 = ["sn2 (3)", SIZE, -1n, ""];
  const old: Recipe = { base: "three", version: 2 };
  const amended: Recipe = { base: "three" };

  test("when qemu-img amends the image", async () => {
    const { image } = await requestsOn(amended);
    expect(await entriesOf(image)).toEqual([sn0, sn1, sn2]);
  });

  test.each([
    ["a repair", PRETENDED_V3, ["repair"], ["check", "-r", "all"], [sn0, sn1, sn2]],
    [
      "a new snapshot",
      amended,
      ["create", "sn3"],
      ["snapshot", "-c", "sn3"],
      [sn0, sn1, sn2, ["sn3 (4)", SIZE, 0n, ""]],
    ],
    [
      "a new snapshot in version 2",
      old,
      ["create", "sn3"],
      ["snapshot", "-c", "sn3"],
      [sn0, sn1, sn2, ["sn3 (4)", SIZE, 0n, ""]],
    ],
    ["the deletion of sn0", old, ["delete", "sn0"], ["snapshot", "-d", "sn0"], [sn1, sn2]],
    ["the deletion of sn1", old, ["delete", "sn1"], ["snapshot", "-d", "sn1"], [sn0, sn2]],
    ["the deletion of sn2", old, ["delete", "sn2"], ["snapshot", "-d", "sn2"], [sn0, sn1]],
  ])("by %s", async (_, recipe, our, their, expected) => {
    const requests = await requestsOn(recipe);
    const answers = [
      await requests.ours("ours", ...our),
      await requests.onCopy("qemu", (copy) => qemuImg(...their, copy)),
    ];
    expect(answers.map(({ code }) => code)).toEqual([0, 0]);
    expect.soft(await entriesOf(requests.copy("qemu")), "qemu").toEqual(expected);
    expect.soft(await entriesOf(requests.copy("ours")), "ours").toEqual(expected);
    await expectClean(requests.copy("ours"), false);
  });
});
