import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

/** Each layer may import itself and those before it. */
const LAYERS = [
  "src/errors",
  "src/format",
  "src/disk",
  "src/image",
  "src/intent",
  "src/plan",
  "journal",
  "src/engine",
  "src/retention",
  "src/history",
  "src/export",
  "src/nbd",
  "src/pool",
  "src/index.ts",
  "src/cli",
];

/** The journal knows bytes and records, nothing of qcow2. */
const JOURNAL_MAY_IMPORT = ["src/errors", "journal"];

/** Folders that touch no I/O, no clock and no randomness: time, ids and names arrive as data. */
const PURE = ["src/format", "src/plan", "src/retention"];
const IMPURE = [
  /from "node:(fs|child_process|net|os|crypto|worker_threads|timers)/,
  /Date\.now|new Date\(\)/,
  /Math\.random/,
];

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
    .map((name) => join(folder, name));
}

function layerOf(path: string): string {
  const layer = LAYERS.find((candidate) => path === candidate || path.startsWith(`${candidate}/`));
  if (layer === undefined) throw new Error(`${path} is in no layer`);
  return layer;
}

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)].map((match) =>
    relative(root, resolve(root, dirname(path), match[1] ?? "")),
  );
}

const files = [...sources("src"), ...sources("journal")];

describe("the layers", () => {
  test.each(files)("%s imports only what lies below it", (path) => {
    const layer = layerOf(path);
    for (const target of importsOf(path)) {
      const below = layerOf(target);
      if (layer === "journal") expect(JOURNAL_MAY_IMPORT, `${path} -> ${target}`).toContain(below);
      else expect(LAYERS.indexOf(below), `${path} -> ${target}`).toBeLessThanOrEqual(LAYERS.indexOf(layer));
    }
  });

  test.each(files)("%s reaches another layer only through its index", (path) => {
    for (const target of importsOf(path)) {
      if (layerOf(target) !== layerOf(path)) expect(target).toMatch(/index\.ts$/);
    }
  });

  test.each(files.filter((path) => PURE.includes(layerOf(path))))("%s is pure", (path) => {
    const text = readFileSync(join(root, path), "utf8");
    for (const pattern of IMPURE) expect(text).not.toMatch(pattern);
  });

  test("no module is part of an import cycle", () => {
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      expect(trail, [...trail, path].join(" -> ")).not.toContain(path);
      if (done.has(path)) return;
      for (const target of importsOf(path)) visit(target, [...trail, path]);
      done.add(path);
    };
    for (const path of files) visit(path, []);
  });

  test("no source file is longer than 400 lines", () => {
    for (const path of files) {
      expect(readFileSync(join(root, path), "utf8").split("\n").length, path).toBeLessThanOrEqual(400);
    }
  });
});
