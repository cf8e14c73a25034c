import { copyFile, cp, mkdir, readFile, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { readBundle } from "../../src/cli/bundle.ts";
import { BUNDLE_OF_ALL, GROUPS, type Group, bundleFor, bundleOf } from "../../src/cli/groups/groups.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";

const root = resolve(import.meta.dirname, "../..");
const built = join(root, "dist");

beforeAll(requireBuiltCommand);

/** A folder with what is installed, to be spoiled. */
async function installed(): Promise<string> {
  const folder = await tempDir();
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  await installIn(folder);
  await copyFile(join(root, "package.json"), join(folder, "package.json"));
  return folder;
}

async function installIn(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(built)) {
    if (/\.(cjs|cache)$/.test(name)) await copyFile(join(built, name), join(folder, name));
  }
}

const start = (folder: string, ...args: readonly string[]): Promise<string> =>
  must(process.execPath, [join(folder, "qcowal.cjs"), ...args]);

const BUNDLES = [BUNDLE_OF_ALL, ...(Object.keys(GROUPS) as Group[]).map(bundleOf)];

test.each(BUNDLES)("the code cache that the build leaves of %s is the one that V8 takes", async (name) => {
  const { file, code } = readBundle(built, name);
  expect(code).toBeDefined();
  const script = `
    const { readFileSync } = require("node:fs"), { Script } = require("node:vm");
    const [file, cache] = process.argv.slice(1);
    const cachedData = readFileSync(cache).subarray(8);
    console.log(new Script(readFileSync(file, "latin1"), { filename: file, cachedData }).cachedDataRejected);`;
  const cache = file.replace(/cjs$/, "cache");
  expect((await must(process.execPath, ["-e", script, file, cache])).trim()).toBe("false");
});

test("each command is in the bundle that is started for it, and all of them in that of the help", async () => {
  const help = await start(built, "--help");
  const named = [...help.matchAll(/^  ([a-z]+)(?= .*  )/gm)].map(([, name = ""]) => name);
  expect(named.toSorted()).toEqual(Object.values(GROUPS).flat().toSorted());
  for (const name of named) {
    // No other bundle is there to answer.
    const folder = await tempDir();
    const bundle = bundleFor([name, "--help"]);
    for (const file of ["qcowal.cjs", `${bundle}.cjs`, `${bundle}.cache`])
      await copyFile(join(built, file), join(folder, file));
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    expect(await start(folder, name, "--help")).toContain(`Usage: qcowal ${name} `);
  }
});

test("the version that is said is that of the package", async () => {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  for (const word of ["--version", "-V"]) expect(await start(built, word)).toBe(`${version}\n`);
});

test.each(["-r", "-rleaks", "--repair", "--repair=all", "-qr"])(
  "check %s is started with the commands that write",
  (word) => {
    expect(bundleFor(["check", word, "all", "web.qcow2"])).toBe(bundleOf("write"));
    expect(bundleFor(["check", "web.qcow2"])).toBe(bundleOf("check"));
  },
);

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
  expect(readBundle(folder, BUNDLE_OF_ALL).code).toBeDefined();
  await spoil(folder);
  expect(readBundle(folder, BUNDLE_OF_ALL).code).toBeUndefined();
  expect(await start(folder, "--help")).toContain("Usage: qcowal [options] [command]");
});

test("an installation without its packages says which is missing, and no more than a screen", async () => {
  const folder = await tempDir();
  await installIn(folder);
  const { code, stderr } = await run(process.execPath, [join(folder, "qcowal.cjs"), "list", "web.qcow2"]);
  expect(code).toBe(1);
  expect(stderr).toContain("Cannot find module 'fs-native-extensions'");
  expect(stderr.length).toBeLessThan(4000);
});

/** Where npm puts the packages that ours needs, seen from the folder of the command. */
const places = [
  ["in its own node_modules", "qcowal/dist", "qcowal/node_modules"],
  ["beside it", "node_modules/qcowal/dist", "node_modules"],
  ["further up", "app/qcowal/lib/dist", "node_modules"],
] as const;

test.each(places)("the command finds its native code %s", async (_, command, packages) => {
  const folder = await tempDir();
  await installIn(join(folder, command));
  await linkPackages(join(folder, packages));
  await createsSnapshot(folder, join(folder, command));
});

test("native code of another version, which somebody else needs, is not taken for that of ours", async () => {
  const folder = await tempDir();
  const packages = join(folder, "node_modules");
  await installIn(join(packages, "qcowal/dist"));
  await linkPackages(packages);
  for (const name of ["level", "classic-level"]) await rm(join(packages, name));
  await cp(join(root, "node_modules/level"), join(packages, "level"), { recursive: true });
  const ours = join(packages, "level/node_modules/classic-level");
  await cp(join(root, "node_modules/classic-level"), ours, { recursive: true });
  await cp(ours, join(packages, "classic-level"), { recursive: true });
  // It can be loaded, and is something else.
  const file = (name: string): string => join(name, "prebuilds", `linux-${process.arch}`, `${name}.node`);
  await copyFile(join(packages, file("fs-native-extensions")), join(packages, file("classic-level")));
  await createsSnapshot(folder, join(packages, "qcowal/dist"));
});

test("native code that was compiled on purpose is taken in place of that which came along", async () => {
  const folder = await tempDir();
  await installIn(join(folder, "node_modules/qcowal/dist"));
  await linkPackages(join(folder, "node_modules"));
  for (const name of ["level", "classic-level"]) {
    await rm(join(folder, "node_modules", name));
    await cp(join(root, "node_modules", name), join(folder, "node_modules", name), { recursive: true });
  }
  const compiled = join(folder, "node_modules/classic-level/build/Release");
  await mkdir(compiled, { recursive: true });
  await writeFile(join(compiled, "classic_level.node"), "by a compiler with a fault");
  const command = join(folder, "node_modules/qcowal/dist");
  await expect(createsSnapshot(folder, command)).rejects.toThrow("build/Release/classic_level.node");
});

async function linkPackages(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(join(root, "node_modules"))) {
    if (!name.startsWith(".")) await symlink(join(root, "node_modules", name), join(folder, name));
  }
}

async function createsSnapshot(folder: string, command: string): Promise<void> {
  const image = join(folder, "image.qcow2");
  await must("qemu-img", ["create", "-q", "-f", "qcow2", image, "1M"]);
  const words = [join(command, "qcowal.cjs"), "create", "--json", "one", image];
  expect(await must(process.execPath, words)).toContain('"one"');
}
