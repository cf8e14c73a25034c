import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { type Operation, OPERATIONS_SCHEMA, openPool } from "../../src/index.ts";
import { qcowal, qcowalJson } from "../support/in-process.ts";
import { judge, requireQemu } from "../support/qemu.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireQemu);

interface Entry {
  readonly status: string;
  readonly operations: readonly Operation[];
  readonly reason?: string;
}

const history = (lab: Lab, ...images: readonly string[]): Promise<Entry[]> =>
  qcowalJson<Entry[]>("history", ...images, "--journal", lab.path(".qcowal"));

/** Writes operations on images of the lab, and runs them. */
async function runFile(lab: Lab, document: unknown, ...args: readonly string[]): ReturnType<typeof qcowal> {
  const file = lab.path("operations.json");
  await writeFile(file, typeof document === "string" ? document : JSON.stringify(document));
  return qcowal("run", file, ...args);
}

describe("several operations on one image", () => {
  test("--name, again and again, deletes several snapshots as one transaction", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await qcowal("create", "three", image);
    const { code, stderr } = await qcowal("delete", "--name", "one", "--id", "2", image);
    expect(code).toBe(0);
    // What both freed is said once.
    expect(stderr).toMatch(
      /: deleted "one" \(id 1\)\n.*: deleted "two" \(id 2\)\n.*: 2 changes together \[.*freed, transaction \d+\]\n$/,
    );
    expect(await lab.names()).toEqual(["three"]);
    await judge(image);
    expect(await history(lab, image)).toMatchObject([
      { status: "done" },
      {
        status: "done",
        operations: [
          { type: "delete", name: "one" },
          { type: "delete", id: "2" },
        ],
      },
    ]);
    const refused = await qcowal("delete", "--name", "three", "--name", "none", image);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('no snapshot "none"') });
    expect(await lab.names()).toEqual(["three"]);
  });

  test("a file with operations is one transaction, with a reason", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    const operations = [
      { type: "create", image, name: "three" },
      { type: "delete", image, name: "one" },
      { type: "rename", image, name: "two", to: "oldest" },
    ];
    expect(await runFile(lab, { operations, reason: "rotation" })).toMatchObject({ code: 0 });
    expect(await lab.names()).toEqual(["oldest", "three"]);
    expect(await history(lab, image)).toMatchObject([{ status: "done", operations, reason: "rotation" }]);
    await judge(image);
  });

  test.each([
    ["no JSON", "create one", /JSON/],
    ["an unknown field", [{ type: "create", image: "a", name: "x", nmae: "y" }], /number 1: .*"nmae"/],
    ["no operation", [], /at least one operation/],
  ])("%s in the file is misuse that names it", async (_, document, message) => {
    const lab = await Lab.open();
    const { code, stderr } = await runFile(lab, document);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
  });

  test("--schema prints what the file has to be", async () => {
    const { code, stdout } = await qcowal("run", "--schema");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(OPERATIONS_SCHEMA);
  });
});

describe("a group of images", () => {
  test("is refused as a whole for one of them, which the message names", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    const [a, b] = [lab.path("a.qcow2"), lab.path("b.qcow2")];
    await qcowal("create", "taken", b);
    const before = await lab.bytes();
    const refused = await qcowal("create", "taken", a, b);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`${b} already has a snapshot "taken"`);
    expect(before.equals(await lab.bytes())).toBe(true);
    const entries = await history(lab, a);
    expect(entries).toMatchObject([{ status: "refused", operations: [{ image: a }, { image: b }] }]);
  });

  test("of which a qemu holds the second takes no lock of the first, whatever the order", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    const [a, b] = [lab.path("a.qcow2"), lab.path("b.qcow2")];
    const vm = spawn("stdbuf", ["-oL", "qemu-io", "-c", "read 0 512", "-c", "sleep 60000", b], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      // It has its locks when it has read.
      await once(vm.stdout, "data");
      await using pool = await openPool(lab.path(".qcowal"));
      for (const images of [
        [a, b],
        [b, a],
      ]) {
        const operations = images.map((image): Operation => ({ type: "create", image, name: "group" }));
        await expect(pool.run(operations)).rejects.toMatchObject({
          code: "IMAGE_IN_USE",
          message: expect.stringContaining(b),
        });
        // Its locks are free again for qemu, while the pool is still open.
        await judge(a);
      }
      await pool.create(a, "alone");
    } finally {
      vm.kill("SIGKILL");
      await once(vm, "exit");
    }
    expect(await lab.names()).toEqual(["one", "two", "alone"]);
  });

  test("in different folders is recorded by the journal of the first, as one entry, and recovered from there", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    await mkdir(lab.path("other"));
    await rename(lab.path("b.qcow2"), lab.path("other/b.qcow2"));
    const [a, b] = [lab.path("a.qcow2"), lab.path("other/b.qcow2")];
    expect(await qcowal("create", "both", a, b)).toMatchObject({ code: 0 });
    const entries = await history(lab);
    expect(entries).toMatchObject([
      {
        status: "done",
        operations: [
          { type: "create", image: a },
          { type: "create", image: b },
        ],
      },
    ]);
    expect(await history(lab, b)).toEqual(entries);
    // The one that is named comes first.
    expect(await qcowal("create", "named", a, b, "--journal", lab.path("j"))).toMatchObject({ code: 0 });
    expect(await qcowalJson<unknown[]>("history", b, "--journal", lab.path("j"))).toHaveLength(1);
  });
});
