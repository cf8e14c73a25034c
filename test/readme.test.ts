import { chmod, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openPool } from "../src/index.ts";
import { type ImageSpec, writeImage } from "../tools/image-maker/index.ts";
import { cli, requireBuiltCommand } from "./support/command.ts";
import { must, run } from "./support/programs.ts";
import { requireQemu } from "./support/qemu.ts";

const root = resolve(import.meta.dirname, "..");
const readme = await readFile(join(root, "README.md"), "utf8");

const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, text = ""]) => text);

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

async function scratch(): Promise<string> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), "qcowal-readme-")));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Dates, durations, digests, process ids, users and hosts are other ones each time, and columns are as wide as they. */
function timeless(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "DATE")
    .replaceAll(/\S+@\S+ qcowal\[\d+\]/g, "WHO")
    .replaceAll(/\d+\.\d{3} s/g, "TIME")
    .replaceAll(/[0-9a-f]{64}|SHA-256 [0-9a-f]{16}/g, "DIGEST")
    .replaceAll(/ +/g, " ")
    .replaceAll(/ +$/gm, "");
}

test("the tour prints what it says it prints", async () => {
  const dir = await scratch();
  const shim = join(dir, "npx");
  const words = cli().map((word) => `'${word}'`);
  await writeFile(shim, `#!/bin/sh\nshift\nexec ${words.join(" ")} "$@"\n`);
  await chmod(shim, 0o755);
  const env = { PATH: `${dir}:${process.env["PATH"]}` };
  const steps = blocks("console").flatMap((block) =>
    block.split(/^\$ /m).flatMap((step) => {
      const [command = "", ...output] = step.split("\n");
      return command === "" ? [] : [{ command, output: output.join("\n") }];
    }),
  );
  expect(steps.length).toBeGreaterThan(8);
  for (const { command, output } of steps) {
    const { code, stdout } = await run("sh", ["-c", `${command} 2>&1`], { cwd: dir, env });
    expect(code, command).toBe(0);
    expect(timeless(stdout), command).toBe(timeless(output));
  }
});

describe("the examples of the library run as they stand:", () => {
  const SPEC: ImageSpec = {
    version: 3,
    clusterBits: 12,
    virtualSize: 2 ** 20,
    active: { changes: [{ at: 0, kind: "data", count: 9 }] },
  };

  /** A directory in which the examples find "qcowal" and their images. */
  async function project(): Promise<string> {
    const dir = await scratch();
    await mkdir(join(dir, "vms"));
    await mkdir(join(dir, "node_modules"));
    await symlink(root, join(dir, "node_modules", "qcowal"));
    await writeFile(join(dir, "package.json"), '{"type":"module"}');
    for (const name of ["web", "data"]) await writeImage(join(dir, "vms", `${name}.qcow2`), SPEC);
    return dir;
  }

  async function play(dir: string, example: string | undefined): Promise<string> {
    await writeFile(join(dir, "example.ts"), example ?? "");
    return must(
      process.execPath,
      ["--import", join(root, "node_modules/tsx/dist/loader.mjs"), "example.ts"],
      {
        cwd: dir,
      },
    );
  }

  const [embed, recover, audit, ...others] = blocks("ts");

  test("there are three, one for each use", () => {
    expect([embed, recover, audit].map((example) => /open(Pool|History)/.exec(example ?? "")?.[0])).toEqual([
      "openPool",
      "openPool",
      "openHistory",
    ]);
    expect(others).toEqual([]);
  });

  test("as a backend", async () => {
    const output = await play(await project(), embed);
    expect(output).toMatch(/^transaction \d+ is done\n/);
    expect(output).toContain("\nsettle\n");
    expect(output).toContain("[ 'before-upgrade', 'nightly' ]");
  });

  test("after a crash", async () => {
    const dir = await project();
    const victim = [
      join(root, "tools/demo/victim.ts"),
      join(dir, "vms/.qcowal"),
      JSON.stringify({ type: "create", image: join(dir, "vms/web.qcow2"), name: "x" }),
      "switch",
    ];
    expect((await run(process.execPath, ["--import", "tsx", ...victim], { cwd: root })).signal).toBe(
      "SIGKILL",
    );
    expect(await play(dir, recover)).toMatch(/^transaction \d+: finished \[\n/);
    expect(await play(dir, recover)).toBe("");
  });

  test("for an audit", async () => {
    const dir = await project();
    {
      await using pool = await openPool(join(dir, "vms/.qcowal"));
      await pool.create(join(dir, "vms/web.qcow2"), "x", { actor: "auditor", reason: "because" });
    }
    expect(await play(dir, audit)).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z done create x \S+ auditor because\nx from null \(the disk is here\)\n$/,
    );
  });
});

test("the reading tour names folders and files that are there", async () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, target = ""]) => target);
  expect(links.length).toBeGreaterThan(5);
  for (const link of links) await expect(run("ls", [join(root, link)])).resolves.toMatchObject({ code: 0 });
});
