import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { checkImage as check } from "../../src/index.ts";
import { checkImage, inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { judge, rawDigest, requireQemu, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { expectEqualPlans } from "../support/simple-plan/index.ts";
import { SECRET, shapes } from "./shapes.ts";

beforeAll(requireQemu);

describe("an image shape made by qemu", () => {
  test("has a name of its own", () => {
    expect(new Set(shapes.map(({ name }) => name)).size).toBe(shapes.length);
    expect(shapes.length).toBeGreaterThanOrEqual(48);
  });

  test.each(shapes)("is clean for all judges, and read alike: $name", async (shape) => {
    const path = await shape.build(await tempDir(), seededRandom(1));
    const bytes = new Uint8Array(await readFile(path));
    await judge(shape.encrypted === true ? { path, secret: SECRET } : path);
    expect(await check(path)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, findings: [] });
    const { header, snapshots } = inspectImage(bytes);
    await expectEqualPlans(bytes, [{ type: "create", image: path, name: "equal plans" }]);
    for (const { id } of snapshots.slice(0, 1)) {
      await expectEqualPlans(bytes, [{ type: "revert", image: path, id }]);
      await expectEqualPlans(bytes, [{ type: "delete", image: path, id }]);
    }
    expect(snapshots.length).toBeLessThanOrEqual(shape.maxSnapshots ?? Infinity);
    expect(header.backingName !== null).toBe(shape.backing === true);
    expect(header.cryptMethod !== 0).toBe(shape.encrypted === true);
    // QEMU's zstd streams, ciphertext and backing files are beyond the naive reader.
    if (header.compressionType !== 0 || shape.encrypted === true || shape.backing === true) return;
    const content = createHash("sha256").update(readRoot(bytes, "active")).digest("hex");
    expect(await rawDigest(path)).toBe(content);
    for (const { id, position, diskSize } of snapshots) {
      if (diskSize !== header.virtualSize) continue;
      const naive = createHash("sha256").update(readRoot(bytes, position)).digest("hex");
      expect(await rawDigest(path, { snapshotId: id }), `snapshot ${id}`).toBe(naive);
    }
  });

  test("is not clean once it was damaged", async () => {
    for (const shape of shapes.filter(({ name }) => name.startsWith("fragmented"))) {
      const bytes = new Uint8Array(await readFile(await shape.build(await tempDir(), seededRandom(1))));
      const at = inspectImage(bytes).active.l1Offset;
      bytes[at] = (bytes[at] ?? 0) ^ 0x80;
      expect(checkImage(bytes).clean).toBe(false);
    }
  });
});
