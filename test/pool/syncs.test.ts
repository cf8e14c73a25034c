import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { UNSIGNALLED, parseStraceLog } from "../../tools/crash/real/strace-log.ts";
import { API, requireBuiltCommand } from "../support/command.ts";
import { must } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";

beforeAll(requireBuiltCommand);

/** Makes a directory before each operation, and one behind the last: the log shows which sync belongs to which. */
const PROGRAM = `
  const [api, dir] = process.argv.slice(1);
  const { mkdirSync } = await import("node:fs");
  const { openPool } = await import(api);
  const image = dir + "/image.qcow2";
  const pool = await openPool(dir + "/.qcowal");
  const operations = {
    "first": () => pool.create(image, "one"),
    "create": () => pool.create(image, "two"),
    "revert": () => pool.revert(image, "one"),
    "delete": () => pool.delete(image, "two"),
    "rotate": () => pool.run([
      { type: "create", image, name: "three" },
      { type: "delete", image, name: "one" },
    ]),
  };
  for (const [name, operate] of Object.entries(operations)) {
    mkdirSync(dir + "/" + name);
    await operate();
  }
  mkdirSync(dir + "/end");
  await pool.close();`;

test("an operation in an open pool syncs eight times at most, the journal included", async () => {
  const dir = await tempDir();
  const image = join(dir, "image.qcow2");
  await must("qemu-img", ["create", "-q", "-f", "qcow2", image, "64M"]);
  await must("qemu-io", ["-f", "qcow2", "-c", "write -P 7 0 1M", image]);
  const log = join(dir, "trace");
  const trace = [...UNSIGNALLED, "-qq", "-e", "trace=fsync,fdatasync,mkdir", "-o", log];
  const program = [process.execPath, "--input-type=module", "-e", PROGRAM, API, dir];
  await must("strace", [...trace, ...program]);
  const syncs = new Map<string, number>();
  let operation = "";
  for (const { name, args } of parseStraceLog(await readFile(log, "utf8"))) {
    if (name === "mkdir") operation = /\/(\w+)"/.exec(args)?.[1] ?? operation;
    else syncs.set(operation, (syncs.get(operation) ?? 0) + 1);
  }
  for (const name of ["create", "revert", "delete", "rotate"]) {
    expect(syncs.get(name), name).toBeGreaterThanOrEqual(6);
    expect(syncs.get(name), name).toBeLessThanOrEqual(8);
  }
});
