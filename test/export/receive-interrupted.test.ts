import { rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { receiveStream } from "../../src/index.ts";
import { bundled } from "../../tools/crash/bundled.ts";
import { run } from "../support/programs.ts";
import { Receiver, States, dribble, read } from "./stream-lab.ts";

const root = resolve(import.meta.dirname, "../..");
const states = new States();

describe("receiving that was interrupted", () => {
  test("at any record goes on with the same stream, and with no other", async () => {
    const stream = await states.stream(2, 3);
    const records = (await read(stream)).items.length - 2;
    const other = await states.stream(2, 1);
    expect(records).toBeGreaterThan(5);
    for (let stop = 1; stop <= records; stop += Math.ceil(records / 12)) {
      const receiver = await Receiver.at(states.content(2));
      const controller = new AbortController();
      let seen = 0;
      const called = receiveStream(receiver.target, dribble(stream), {
        signal: controller.signal,
        onProgress: (phase) => {
          if (phase === "apply" && (seen += 1) === stop) controller.abort();
        },
      });
      await expect(called).rejects.toMatchObject({
        code: "ABORTED",
        message: expect.stringContaining("between two states") as string,
      });
      expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-receive"]);
      await expect(receiveStream(receiver.target, dribble(other))).rejects.toMatchObject({
        code: "TARGET_MISMATCH",
        message: expect.stringContaining("between two states") as string,
      });
      const dryRun = true;
      await expect(receiveStream(receiver.target, dribble(other), { dryRun })).rejects.toMatchObject({
        code: "TARGET_MISMATCH",
      });
      expect(await receiveStream(receiver.target, dribble(stream), { dryRun })).toMatchObject({
        dryRun,
        result: "resumed",
      });
      expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-receive"]);
      expect(await receiveStream(receiver.target, dribble(stream))).toMatchObject({ result: "resumed" });
      expect((await receiver.bytes()).equals(states.content(3))).toBe(true);
      expect(await receiver.leftovers()).toEqual([]);
    }
  });

  test("before the first write leaves the target as it was", async () => {
    const stream = await states.stream(2, 3);
    for (const last of ["verify", "compare"]) {
      const receiver = await Receiver.at(states.content(2));
      const controller = new AbortController();
      const called = receiveStream(receiver.target, dribble(stream), {
        signal: controller.signal,
        onProgress: (phase) => {
          if (phase === last) controller.abort();
        },
      });
      await expect(called).rejects.toMatchObject({
        code: "ABORTED",
        message: expect.stringContaining("Nothing was changed") as string,
      });
      expect((await receiver.bytes()).equals(states.content(2))).toBe(true);
      expect(await receiver.leftovers()).toEqual([]);
    }
  });

  test("and given up for a full stream leaves no mark that keeps others away", async () => {
    const receiver = await Receiver.at(states.content(2));
    await receiveStream(receiver.target, dribble(await states.stream(2, 3)), {
      onProgress: (phase) => {
        if (phase === "apply") throw new Error("enough");
      },
    }).catch(() => undefined);
    expect(await receiver.leftovers()).toHaveLength(1);
    await rm(receiver.target);
    await receiveStream(receiver.target, dribble(await states.stream(undefined, 3)));
    expect(await receiveStream(receiver.target, dribble(await states.stream(3, 4)))).toMatchObject({
      result: "applied",
    });
  });

  test("is noticed when somebody else wrote to the target meanwhile, and stays marked", async () => {
    const stream = await states.stream(2, 3);
    const receiver = await Receiver.at(states.content(2));
    const saved = await receiver.save(stream);
    const controller = new AbortController();
    await receiveStream(receiver.target, saved, {
      signal: controller.signal,
      onProgress: (phase) => {
        if (phase === "apply") controller.abort();
      },
    }).catch(() => undefined);
    const untouched = states.content(3).findIndex((byte, at) => byte !== 0 && byte === states.content(2)[at]);
    const bytes = await receiver.bytes();
    bytes[untouched] = (bytes[untouched] ?? 0) ^ 1;
    await writeFile(receiver.target, bytes);
    const twice = receiveStream(receiver.target, saved);
    await expect(twice).rejects.toMatchObject({
      code: "TARGET_MISMATCH",
      message: expect.stringContaining("somebody else") as string,
    });
    expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-receive"]);
  });

  test.each([
    ["apply", 7],
    ["check", 2],
  ])("by SIGKILL (%s, %i) is finished by the next call", async (phase, count) => {
    const receiver = await Receiver.at(states.content(3));
    const stream = await receiver.save(await states.stream(3, 4));
    const victim = await bundled(resolve(root, "test/export/victim.ts"));
    const args = [victim, receiver.target, stream, phase, String(count)];
    const { signal, stderr } = await run(process.execPath, args, { cwd: root });
    expect(signal, stderr).toBe("SIGKILL");
    expect(await receiveStream(receiver.target, stream)).toMatchObject({ result: "resumed" });
    expect((await receiver.bytes()).equals(states.content(4))).toBe(true);
    expect(await receiver.leftovers()).toEqual([]);
  });

  test("while it made a new file leaves no file of that name, and begins anew", async () => {
    const receiver = await Receiver.at();
    const stream = await receiver.save(await states.stream(undefined, 4));
    const victim = await bundled(resolve(root, "test/export/victim.ts"));
    const args = [victim, receiver.target, stream, "apply", "3"];
    expect(await run(process.execPath, args, { cwd: root })).toMatchObject({ signal: "SIGKILL" });
    await expect(receiver.bytes()).rejects.toMatchObject({ code: "ENOENT" });
    expect(await receiver.leftovers()).toEqual([".web.raw.qcowal-new"]);
    // Whatever an earlier call has left there.
    await writeFile(join(receiver.dir, ".web.raw.qcowal-new"), Buffer.alloc(4 << 20, 0xff));
    expect(await receiveStream(receiver.target, stream)).toMatchObject({ result: "created" });
    expect((await receiver.bytes()).equals(states.content(4))).toBe(true);
    expect(await receiver.leftovers()).toEqual([]);
  });
});
