import { copyFile, readFile, rename } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { qcowal } from "../support/in-process.ts";
import { snapshotDelete } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

interface StatusOutput {
  readonly image: string;
  readonly matches: boolean;
  readonly recorded: boolean;
  readonly observed?: { readonly what: string };
}

const status = (...args: readonly string[]) => qcowal("status", ...args);

describe("qcowal status", () => {
  test("says by its exit code whether the image is as recorded, and why not", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    const unknown = await status(image);
    expect(unknown).toMatchObject({ code: 4 });
    expect(unknown.stdout).toContain("knows nothing of it");
    await qcowal("create", "x", image);
    expect(await status(image)).toMatchObject({ code: 0, stdout: expect.stringContaining("as recorded") });
    await copyFile(image, lab.path("backup"));
    await snapshotDelete(image, "one");
    const changed = await status(image);
    expect(changed).toMatchObject({ code: 4, stderr: "" });
    expect(changed.stdout).toContain("differs: it was changed by others");
    expect(changed.stdout).toContain('snapshots now: "two", "x"');
    await rename(lab.path("backup"), image);
    const replaced = await status("--json", image);
    expect(replaced.code).toBe(4);
    expect((JSON.parse(replaced.stdout) as StatusOutput[])[0]).toMatchObject({
      matches: false,
      recorded: true,
      observed: { what: "replaced", as: 2 },
    });
  });

  test("leaves no journal where none was, and one that is there as it is", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await status(image);
    await expect(readFile(lab.path(".qcowal/id"))).rejects.toThrow("ENOENT");
    await qcowal("create", "x", image);
    await snapshotDelete(image, "one");
    await status(image);
    const { stdout } = await qcowal("history", "--json", image);
    expect(JSON.parse(stdout)).toHaveLength(1);
  });

  test("of an image that an interrupted operation holds says so, with 6", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await lab.dieAt({ type: "create", image, name: "x" }, "raise");
    const { code, stdout } = await status(image);
    expect({ code, stdout }).toEqual({ code: 6, stdout: expect.stringContaining("'qcowal recover'") });
    await qcowal("recover", image);
    expect(await status(image)).toMatchObject({ code: 0 });
  });

  test("refuses a journal that somebody named and that is not there", async () => {
    const lab = await Lab.open();
    const { code, stderr } = await status("--journal", lab.path("nowhere"), lab.path("a.qcow2"));
    expect(code).toBe(1);
    expect(stderr).toContain("there is no journal");
  });
});
