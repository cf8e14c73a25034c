/** `qcowal check -r`, beside `qemu-img check -r` on the same bytes. */
import { readdir, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { qcowal } from "../support/in-process.ts";
import { visible } from "../support/model.ts";
import { type Places, clusterAt, flag, placesIn, setRefcount, targetAt } from "../support/places.ts";
import { must, run } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

beforeAll(requireQemu);

const zeros = (at: number) => ({ at, count: 1, kind: "zero-allocated" }) as const;
const CLUSTER = 4096;
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 20, kind: "data", seed: 1 }, zeros(40)] },
    { name: "two", changes: [{ at: 9, count: 20, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 7, count: 30, kind: "data", seed: 3 }, zeros(41)] },
};

/** Clusters at the end of the file that nothing uses. */
const SPARE = 4;
const spare = ({ bytes }: Places, index: number): number => bytes.length / CLUSTER - SPARE + index;

const DAMAGES: Readonly<Record<string, (at: Places) => void>> = {
  nothing: () => undefined,
  "a leak": (at) => setRefcount(at, spare(at, 1), 7),
  "a refcount that is too high": (at) => setRefcount(at, 0, 9),
  "a refcount that is too low": (at) => setRefcount(at, clusterAt(at, at.l2), 1),
  "a refcount of a cluster in use that is 0": (at) => setRefcount(at, clusterAt(at, at.entry), 0),
  "refcounts that are too low, and leaks": (at) => {
    setRefcount(at, clusterAt(at, at.l2), 1);
    setRefcount(at, spare(at, 1), 1);
    setRefcount(at, spare(at, 2), 1);
  },
  "COPIED flags": (at) => {
    for (const entry of [at.l1, at.entry, at.l2]) flag(at, entry);
  },
  "a COPIED flag that fits a refcount that is too high": (at) => {
    setRefcount(at, clusterAt(at, at.entry), 2);
    flag(at, at.entry);
  },
  "a missing refcount block": ({ bytes, table }) => void bytes.fill(0, table, table + 8),
  "a refcount block at an odd place": ({ bytes, table }) => void bytes.writeBigUInt64BE(0x1234n, table),
  "the dirty bit": ({ bytes }) => void (bytes[79] = 1),
  "the corrupt bit, and a leak": (at) => {
    setRefcount(at, spare(at, 1), 1);
    at.bytes[79] = 2;
  },
  "an incomplete snapshot": ({ bytes, snapshots }) => {
    // 8 of the 24 bytes of extra data; id and name follow, and then the next entry.
    bytes.writeUInt32BE(8, snapshots + 36);
    bytes.copy(bytes, snapshots + 48, snapshots + 64, snapshots + 68);
    bytes.copy(bytes, snapshots + 56, snapshots + 72, snapshots + 144);
  },
  "unaligned zero clusters": ({ bytes, l2 }) => {
    for (const entry of [40, 41]) bytes[l2 + 8 * entry + 6] = (bytes[l2 + 8 * entry + 6] ?? 0) | 2;
  },
  "a snapshot that cannot be read": ({ bytes, snapshots }) => void bytes.writeBigUInt64BE(0x200n, snapshots),
  "data behind the end of the file": ({ bytes, entry }) => void bytes.writeBigUInt64BE(1n << 40n, entry),
  "reserved bits": ({ bytes, entry }) => void (bytes[entry] = 0xa0),
  "refcounts behind the end of the file": (at) => setRefcount(at, 900, 1),
};

/** What qemu-img answers where it has no numbers: its check ended with an error. */
const FAILED = { code: 1 };

/** Where the answers differ: ours, theirs, and why. */
const DIFFERENCES: Readonly<Record<string, readonly [ours: object, theirs: object]>> = {
  // To count what is left needs no refcounts that can be believed; it is said that they have to be rebuilt.
  "leaks: a refcount of a cluster in use that is 0": [{ code: 2, corruptions: 2 }, FAILED],
  "leaks: a missing refcount block": [{ code: 2, corruptions: 113 }, FAILED],
  "leaks: a refcount block at an odd place": [{ code: 1, corruptions: 1, "check-errors": 86 }, FAILED],
  // It gives up on a block that it cannot read, although it will not need it.
  "all: a refcount block at an odd place": [{ code: 0, "corruptions-fixed": 81 }, FAILED],
  // They free what the snapshot owns: putting its entry right brings nothing back.
  "leaks: a snapshot that cannot be read": [
    { code: 2, corruptions: 1, leaks: 23 },
    { code: 2, corruptions: 1, "leaks-fixed": 23 },
  ],
  "all: a snapshot that cannot be read": [
    { code: 2, corruptions: 1, leaks: 23 },
    { code: 2, corruptions: 1, "leaks-fixed": 23 },
  ],
  // Tables that contradict themselves do not say what is leaked.
  "leaks: data behind the end of the file": [
    { code: 2, corruptions: 1, leaks: 1 },
    { code: 2, corruptions: 1, "leaks-fixed": 1 },
  ],
  "all: data behind the end of the file": [
    { code: 2, corruptions: 1, leaks: 1 },
    { code: 2, corruptions: 1, "leaks-fixed": 1 },
  ],
  // They do not look there.
  "leaks: refcounts behind the end of the file": [{ code: 0, "leaks-fixed": 1 }, { code: 0 }],
  "all: refcounts behind the end of the file": [{ code: 0, "leaks-fixed": 1 }, { code: 0 }],
};

const COUNTS = ["leaks", "corruptions", "leaks-fixed", "corruptions-fixed", "check-errors"];

function answer({ code, stdout }: { readonly code: number | null; readonly stdout: string }): object {
  const fields = stdout === "" ? {} : (JSON.parse(stdout) as Record<string, number>);
  const counts = Object.entries(fields).filter(([name, count]) => COUNTS.includes(name) && count > 0);
  return { code, ...Object.fromEntries(counts) };
}

async function damagedLab(damage: (at: Places) => void): Promise<Lab> {
  const lab = await Lab.open({ "a.qcow2": SPEC });
  const at = placesIn(Buffer.concat([await lab.bytes(), Buffer.alloc(SPARE * CLUSTER)]));
  damage(at);
  for (const name of ["a.qcow2", "b.qcow2"]) await writeFile(lab.path(name), at.bytes);
  return lab;
}

describe.each(["leaks", "all"])("qcowal check -r %s, beside qemu-img, on", (what) => {
  test.each(Object.keys(DAMAGES))("%s", async (name) => {
    const lab = await damagedLab(DAMAGES[name] ?? (() => undefined));
    const before = visible(await lab.bytes());
    const ours = await qcowal("check", "-r", what, "--json", lab.path("a.qcow2"));
    const theirs = await run("qemu-img", ["check", "-r", what, "--output=json", lab.path("b.qcow2")]);
    const difference = DIFFERENCES[`${what}: ${name}`];
    if (difference === undefined) expect(answer(ours)).toEqual(answer(theirs));
    else expect([answer(ours), answer(theirs)]).toEqual(difference);
    // What is clean for us is clean for them, and shows what it showed.
    const judged = await run("qemu-img", ["check", lab.path("a.qcow2")]);
    if (ours.code === 0) expect(judged.code, judged.stderr).toBe(0);
    else expect(judged.code).not.toBe(0);
    expect(visible(await lab.bytes())).toEqual(before);
  });
});

describe("qcowal check -r", () => {
  test("prints what qemu-img prints, and who did what on stderr", async () => {
    const lab = await damagedLab(DAMAGES["refcounts that are too low, and leaks"] ?? (() => undefined));
    const ours = await qcowal("check", "-r", "all", lab.path("a.qcow2"));
    const theirs = await run("qemu-img", ["check", "-r", "all", lab.path("b.qcow2")]);
    expect([ours.code, ours.stdout]).toEqual([theirs.code, theirs.stdout]);
    expect(ours.stdout).toMatch(
      /^The following inconsistencies were found and repaired:\n\n {4}2 leaked clusters/,
    );
    const [own, shared] = ["a.qcow2: ", "ERROR cluster "].map((start) =>
      ours.stderr.split("\n").find((line) => line.includes(start)),
    );
    expect(own).toMatch(
      /a\.qcow2: repaired 2 leaked clusters, 1 refcount that was too low \[.*transaction 2\]$/,
    );
    expect(shared).toMatch(/refcount=1 reference=3 \[active layer, snapshot "one" \(id 1\), snapshot "two"/);
    expect(await qcowal("check", lab.path("a.qcow2"))).toMatchObject({ code: 0, stderr: "" });
  });

  test("is an operation in the history, with every finding that it mended", async () => {
    const lab = await damagedLab(DAMAGES["refcounts that are too low, and leaks"] ?? (() => undefined));
    const words = ["--actor", "ops", "--reason", "host lost power", "--journal", lab.path("j")];
    const { code, stdout } = await qcowal("check", "-r", "all", "--json", ...words, lab.path("a.qcow2"));
    const { repaired } = JSON.parse(stdout) as { repaired: { mended: object; findings: string[] } };
    expect([code, repaired.findings.length]).toEqual([0, 2]);
    const history = await qcowal("history", "--json", "--journal", lab.path("j"));
    expect(JSON.parse(history.stdout)).toMatchObject([
      {
        status: "done",
        actor: { name: "ops" },
        reason: "host lost power",
        operations: [{ type: "repair", what: "all" }],
        images: [{ outcomes: [{ mended: repaired.mended, findings: repaired.findings }] }],
      },
    ]);
  });

  test("leaves a clean image alone, and makes no journal for it", async () => {
    const lab = await damagedLab(() => undefined);
    const before = await lab.bytes();
    expect(await qcowal("check", "-r", "all", "-q", lab.path("a.qcow2"))).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    expect(before.equals(await lab.bytes())).toBe(true);
    expect((await readdir(lab.dir)).toSorted()).toEqual(["a.qcow2", "b.qcow2"]);
  });

  test("says why it changes nothing, and what it leaves", async () => {
    const refused = await damagedLab(DAMAGES["reserved bits"] ?? (() => undefined));
    const before = await refused.bytes();
    const { code, stderr } = await qcowal("check", "-r", "all", refused.path("a.qcow2"));
    expect([code, stderr.split("\n").length]).toEqual([2, 3]);
    expect(stderr).toMatch(
      /^ERROR L2 table.*reserved bits are set.*\n.*shows damage that a repair cannot mend/,
    );
    expect(before.equals(await refused.bytes())).toBe(true);

    const left = await damagedLab(DAMAGES["a snapshot that cannot be read"] ?? (() => undefined));
    const { stdout } = await qcowal("check", "-r", "all", "--json", left.path("a.qcow2"));
    expect(JSON.parse(stdout)).toMatchObject({
      repaired: {
        left: [
          expect.stringMatching(
            /^snapshot "one" \(id 1\): L1 table offset invalid.*--drop-damaged-snapshots/,
          ),
          expect.stringMatching(/refcounts that are too high: what looks leaked may belong to a snapshot/),
        ],
      },
    });
  });

  test.each(["check -r all", "check -r leaks", "repair", "repair --leaks"])(
    "(as '%s') leaves no journal where none was, when it is refused, and a note of it in one that is there",
    async (words) => {
      const lab = await damagedLab(DAMAGES["reserved bits"] ?? (() => undefined));
      const refused = () => qcowal(...words.split(" "), lab.path("a.qcow2"));
      expect((await refused()).stderr).toContain("shows damage that a repair cannot mend");
      expect((await readdir(lab.dir)).toSorted()).toEqual(["a.qcow2", "b.qcow2"]);

      await writeFile(lab.path("c.qcow2"), makeImage(SPEC));
      expect(await qcowal("create", "three", lab.path("c.qcow2"))).toMatchObject({ code: 0 });
      await refused();
      const { stdout } = await qcowal("history", "--json", "--journal", lab.path(".qcowal"));
      expect(JSON.parse(stdout)).toMatchObject([
        { status: "done", operations: [{ type: "create" }] },
        { status: "refused", code: "IMAGE_DAMAGED", operations: [{ type: "repair" }] },
      ]);
    },
  );

  test.each([
    ["in a table of the disk and of snapshots", []],
    ["in a table that only snapshots have", [{ at: 100, count: 1, kind: "data", seed: 3 }]],
  ] as const)("clears COPIED flags of compressed data, which qemu leaves (%s)", async (_what, changes) => {
    const streams = [{ at: 4, count: 5, kind: "compressed", seed: 1 }] as const;
    const snapshots = [{ name: "one", changes: [...streams, zeros(40)] }, { name: "two" }];
    const spec: ImageSpec = {
      version: 3,
      clusterBits: 12,
      virtualSize: 2 ** 20,
      snapshots,
      active: { changes: [...changes] },
    };
    const lab = await Lab.open({ "a.qcow2": spec });
    const sound = await lab.bytes();
    const at = placesIn(Buffer.from(sound));
    const l2 = targetAt(at, targetAt(at, at.snapshots));
    expect(l2 === at.l2).toBe(changes.length === 0);
    for (const entry of [4, 5, 7]) flag(at, l2 + 8 * entry);
    // In the same table, and mended in another way.
    at.bytes[l2 + 8 * 40 + 6] = (at.bytes[l2 + 8 * 40 + 6] ?? 0) | 2;
    for (const name of ["a.qcow2", "b.qcow2"]) await writeFile(lab.path(name), at.bytes);

    // It counts an entry for each path to it, and mends none.
    const theirs = await run("qemu-img", ["check", "-r", "all", "--output=json", lab.path("b.qcow2")]);
    expect(JSON.parse(theirs.stdout)).toMatchObject({ corruptions: 3 * (changes.length === 0 ? 3 : 2) });
    const ours = await qcowal("check", "-r", "all", "--json", lab.path("a.qcow2"));
    expect(ours.code).toBe(0);
    const { repaired } = JSON.parse(ours.stdout) as { repaired: { mended: object; findings: string[] } };
    expect(repaired.mended).toMatchObject(
      changes.length === 0 ? { copiedFlags: 3, compressedFlags: 0 } : { compressedFlags: 3 },
    );
    expect(repaired.findings).toContainEqual(
      expect.stringMatching(
        /^3 COPIED flags of .*wrong|^3 COPIED flags of compressed data are set in tables of snapshots, the first/,
      ),
    );
    await must("qemu-img", ["check", lab.path("a.qcow2")]);
    expect(visible(await lab.bytes())).toEqual(visible(sound));
  });

  test("leaves an unaligned zero cluster of version 2 alone, which qemu makes one that nobody reads", async () => {
    const lab = await Lab.open({
      "a.qcow2": {
        version: 2,
        clusterBits: 12,
        virtualSize: 2 ** 20,
        active: { changes: [{ at: 7, count: 30, kind: "data", seed: 3 }] },
      },
    });
    const at = placesIn(await lab.bytes());
    // The zero flag, and an offset of 512 bytes in the cluster.
    at.bytes.writeUInt16BE(at.bytes.readUInt16BE(at.entry + 6) | 0x201, at.entry + 6);
    for (const name of ["a.qcow2", "b.qcow2"]) await writeFile(lab.path(name), at.bytes);
    const read = ["-c", `read ${10 * CLUSTER} ${CLUSTER}`];

    const theirs = await run("qemu-img", ["check", "-r", "all", lab.path("b.qcow2")]);
    expect(theirs.code).toBe(0);
    const failed = await run("qemu-io", ["-r", ...read, lab.path("b.qcow2")]);
    expect(failed.stderr + failed.stdout).toMatch(/Zero cluster entry found in pre-v3 image.*read failed/s);

    const { code, stderr } = await qcowal("check", "-r", "all", lab.path("a.qcow2"));
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /cannot mend: entry 10 of the L2 table at 0x[0-9a-f]+ is invalid: it has the zero flag, which version 2 does not know.*'qemu-img amend -o compat=1\.1'.* \[active layer\]/,
    );
    expect(at.bytes.equals(await lab.bytes())).toBe(true);

    // That is what the message proposes; then it is known what the guest sees.
    await must("qemu-img", ["amend", "-f", "qcow2", "-o", "compat=1.1", lab.path("a.qcow2")]);
    expect(await qcowal("check", "-r", "all", lab.path("a.qcow2"))).toMatchObject({ code: 0 });
    await must("qemu-img", ["check", lab.path("a.qcow2")]);
    await must("qemu-io", ["-r", "-c", `read -P 0 ${10 * CLUSTER} ${CLUSTER}`, lab.path("a.qcow2")]);
  });

  test("is misuse with -U, of anything but leaks and all, and of words for the record without it", async () => {
    const lab = await damagedLab(() => undefined);
    for (const words of [
      ["-r", "all", "-U"],
      ["-r", "most"],
      ["--reason", "x"],
      ["--wait", "3"],
    ]) {
      const ended = await qcowal("check", ...words, lab.path("a.qcow2"));
      expect(ended, words.join(" ")).toMatchObject({ code: 1, stdout: "" });
    }
    const theirs = await run("qemu-img", ["check", "-r", "all", "-U", lab.path("a.qcow2")]);
    expect(theirs.code).toBe(1);
  });
});
