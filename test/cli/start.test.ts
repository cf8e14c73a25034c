import { copyFile, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { cachedCode } from "../../src/cli/code-cache.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";

const root = resolve(import.meta.dirname, "../..");
const built = join(root, "dist");

beforeAll(requireBuiltCommand);

/** A folder with what is installed, to be spoiled. */
async function installed(): Promise<string> {
  const folder = await tempDir();
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  for (const name of ["qcowal.cjs", "command.cjs", "command.cache"]) {
    await copyFile(join(built, name), join(folder, name));
  }
  await copyFile(join(root, "package.json"), join(folder, "package.json"));
  return folder;
}

const version = async (folder: string): Promise<string> =>
  (await must(process.execPath, [join(folder, "qcowal.cjs"), "--version"])).trim();

test("the code cache that the build leaves is the one that V8 takes", async () => {
  expect(cachedCode(built)).toBeDefined();
  const script = `
    const { readFileSync } = require("node:fs"), { Script } = require("node:vm");
    const file = process.argv[1] + "/command.cjs";
    const cachedData = readFileSync(process.argv[1] + "/command.cache").subarray(32);
    const source = require("node:module").wrap(readFileSync(file, "utf8"));
    console.log(new Script(source, { filename: file, cachedData }).cachedDataRejected);`;
  expect((await must(process.execPath, ["-e", script, built])).trim()).toBe("false");
});

test.each([
  ["is missing", (folder: string) => rm(join(folder, "command.cache"))],
  ["is cut off", (folder: string) => truncate(join(folder, "command.cache"), 5000)],
  ["is empty", (folder: string) => truncate(join(folder, "command.cache"), 0)],
  [
    "has a changed byte",
    async (folder: string) => {
      const bytes = await readFile(join(folder, "command.cache"));
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      await writeFile(join(folder, "command.cache"), bytes);
    },
  ],
  [
    "is that of another source of the same length",
    async (folder: string) => {
      const source = await readFile(join(folder, "command.cjs"), "utf8");
      await writeFile(
        join(folder, "command.cjs"),
        source.replace("Crash-safe, journaled", "Crash safe, journaled"),
      );
    },
  ],
])("a code cache that %s is not used, and the command runs without it", async (_, spoil) => {
  const folder = await installed();
  expect(cachedCode(folder)).toBeDefined();
  await spoil(folder);
  expect(cachedCode(folder)).toBeUndefined();
  expect(await version(folder)).toBe(await version(root + "/dist"));
});
