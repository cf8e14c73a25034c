/** The rows of the README's table of formats: each is a test, and each test is a row. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { requireQemu } from "../support/qemu.ts";
import { clusterFeatures } from "./cluster-features.ts";
import { exercise } from "./exercise.ts";
import type { Feature } from "./feature.ts";
import { headerFeatures } from "./header-features.ts";

beforeAll(requireQemu);

const features: readonly Feature[] = [...headerFeatures, ...clusterFeatures];

/** Rows with a test file of their own, which has to be called as they are. */
const ELSEWHERE: Readonly<Record<string, { readonly file: string; readonly row: string }>> = {
  "an image on a block device": {
    file: "test/cli/block-device.test.ts",
    row: "| an image on a block device | yes | yes | yes | yes | the journal has to be named; what does not fit is refused before anything is written |",
  },
};

const root = join(import.meta.dirname, "../..");

const HEADING = "| format | list, check | create, delete | revert | repair | |";

function rowOf(feature: Feature): string {
  const { listAndCheck = "yes", createAndDelete = "yes", revert = "yes", repair = "yes" } = feature;
  return `| ${[feature.name, listAndCheck, createAndDelete, revert, repair, feature.note].join(" | ")} |`;
}

const oneSpace = (line: string): string => line.replaceAll(/ +/g, " ").trim();

describe("a format is handled as the README says:", () => {
  test.each(features)("$name", async (feature) => {
    for (const variant of feature.variants) {
      try {
        await exercise(feature, variant);
      } catch (error) {
        if (error instanceof Error) error.message = `${variant.name}: ${error.message}`;
        throw error;
      }
    }
    await feature.more?.();
  });
});

test("the README's table has a row for each of these tests, and no other", async () => {
  const readme = (await readFile(join(root, "README.md"), "utf8")).split("\n").map(oneSpace);
  const start = readme.indexOf(HEADING);
  expect(start, `the README has no line ${HEADING}`).toBeGreaterThan(0);
  const end = readme.indexOf("", start);
  const elsewhere = Object.values(ELSEWHERE).map(({ row }) => row);
  const expected = [...features.map(rowOf).map(oneSpace), ...elsewhere];
  expect(readme.slice(start + 2, end).toSorted()).toEqual(expected.toSorted());
  for (const [name, { file }] of Object.entries(ELSEWHERE)) {
    expect(await readFile(join(root, file), "utf8")).toContain(`describe("${name}"`);
  }
});
