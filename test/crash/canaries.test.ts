/** Planted bugs: judges that cannot fail judge nothing. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { CrashError } from "../../tools/crash/explore.ts";
import { CANARIES } from "./canaries/list.ts";
import { here, plant, planted } from "./canaries/planted.ts";
import { ALL_SUBJECTS, exploreSubject } from "./canaries/subjects.ts";

vi.mock("../../src/plan/index.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/index.ts")>();
  const planImage: typeof real.planImage = async (...args) => {
    const plan = await real.planImage(...args);
    return planted.bug.plan?.(plan) ?? plan;
  };
  return { ...real, planImage };
});

vi.mock("../../src/plan/plan-repair-operation.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/plan-repair-operation.ts")>();
  const planRepairOperation: typeof real.planRepairOperation = (image, operation, options) =>
    real.planRepairOperation(image, planted.bug.repairAs?.(operation) ?? operation, options);
  return { ...real, planRepairOperation };
});

vi.mock("../../src/plan/readable-snapshots.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/readable-snapshots.ts")>();
  const readableSnapshots: typeof real.readableSnapshots = async (image) => {
    const found = await real.readableSnapshots(image);
    return planted.bug.readable?.(found) ?? found;
  };
  return { ...real, readableSnapshots };
});

vi.mock("../../src/plan/contradictory-snapshots.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/contradictory-snapshots.ts")>();
  const contradictorySnapshots: typeof real.contradictorySnapshots = async (image, ...rest) =>
    planted.bug.contradictory?.(image) ?? real.contradictorySnapshots(image, ...rest);
  return { ...real, contradictorySnapshots };
});

vi.mock("../../src/plan/repair-refcounts.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/repair-refcounts.ts")>();
  const believedRefcounts: typeof real.believedRefcounts = (image, census, ...rest) => {
    const found = (): ReturnType<typeof real.believedRefcounts> =>
      real.believedRefcounts(image, census, ...rest);
    return planted.bug.believes?.(image, census, found) ?? found();
  };
  return { ...real, believedRefcounts };
});

vi.mock("../../src/plan/refcount-differences.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/refcount-differences.ts")>();
  const refcountDifferences: typeof real.refcountDifferences = (path, census, ...rest) => {
    const found = (): ReturnType<typeof real.refcountDifferences> =>
      real.refcountDifferences(path, census, ...rest);
    return planted.bug.differences?.(census, found) ?? found();
  };
  return { ...real, refcountDifferences };
});

vi.mock("../../src/plan/active-flags.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/active-flags.ts")>();
  const of: typeof real.ActiveFlags.of = async (image, ...rest) => {
    const flags = await real.ActiveFlags.of(image, ...rest);
    const more = { clear: [], set: [] };
    await planted.bug.flags?.(more, image);
    const merged: typeof flags.wrong = () => {
      const wrong = real.ActiveFlags.prototype.wrong.call(flags);
      return { ...wrong, clear: [...wrong.clear, more.clear], set: [...wrong.set, more.set] };
    };
    return Object.assign(flags, { wrong: merged });
  };
  return { ...real, ActiveFlags: { of } };
});

vi.mock("../../src/plan/space.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/space.ts")>();
  class Space extends real.Space {
    constructor(...[free, stored, from]: ConstructorParameters<typeof real.Space>) {
      super(free, stored, planted.bug.allocatesAnywhere === true ? 0 : from);
    }
  }
  return { ...real, Space };
});

vi.mock("../../src/engine/progress.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/progress.ts")>();
  class Progress extends real.Progress {
    override step(...args: Parameters<InstanceType<typeof real.Progress>["step"]>): void {
      planted.step = args[0];
      super.step(...args);
    }
  }
  return { ...real, Progress };
});

vi.mock("../../src/engine/fence.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/fence.ts")>();
  const fenceIntent: typeof real.fenceIntent = (head, owner) => {
    const fence = real.fenceIntent(head, owner);
    planted.fences.set(String(planted.fences.size), fence);
    return planted.bug.fence?.(fence) ?? fence;
  };
  const unfence: typeof real.unfence = async (disk, fence) => {
    planted.step = "unfence";
    if (planted.bug.unfence === undefined) await real.unfence(disk, fence);
    else await planted.bug.unfence(disk, fence, real.unfence);
  };
  const tidyFence: typeof real.tidyFence = async (...args) =>
    planted.bug.skipsTidying === true ? false : real.tidyFence(...args);
  return { ...real, fenceIntent, unfence, tidyFence };
});

vi.mock("../../src/engine/give-back.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/give-back.ts")>();
  const giveBack: typeof real.giveBack = async (disk, image) => {
    planted.step = "give-back";
    const { bug } = planted;
    if (bug.giveBack === undefined) await real.giveBack(disk, image);
    else await bug.giveBack(disk, image.fence, () => real.giveBack(disk, image));
  };
  return { ...real, giveBack };
});

vi.mock("../../src/engine/apply-phases.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/apply-phases.ts")>();
  const applyParts: typeof real.applyParts = async (disks, parts, onPhase) => {
    async function* changed() {
      for await (const part of parts) yield* planted.bug.parts?.(part, here()) ?? [part];
    }
    await real.applyParts(disks, changed(), (phase) => {
      onPhase(phase);
      planted.step = phase;
    });
  };
  return { ...real, applyParts };
});

vi.mock("../../src/engine/recovery-table.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/recovery-table.ts")>();
  const recoveryAction: typeof real.recoveryAction = (journal, fence, image) => {
    planted.step = "judge";
    const action = real.recoveryAction(journal, fence, image);
    return planted.bug.decide?.(journal, fence, action) ?? action;
  };
  return { ...real, recoveryAction };
});

vi.mock("../../src/intent/refcount.ts", async (original) => {
  const real = await original<typeof import("../../src/intent/refcount.ts")>();
  const refcountEdit: typeof real.refcountEdit = (intent) => {
    const edit = real.refcountEdit(intent);
    if (planted.bug.addsRefcounts !== true) return edit;
    // What is there, plus the difference: right the first time, and wrong in a replay.
    const change = (bytes: Buffer): void => {
      const runs: (readonly [number, number, number, number])[] = [];
      for (const [first, count, from, to] of intent.runs) {
        for (let entry = first; entry < first + count; entry += 1) {
          const found = bytes.readUInt16BE(entry * 2 - edit.window.start);
          runs.push([entry, 1, from, Math.max(0, found + to - from)]);
        }
      }
      real.refcountEdit({ ...intent, runs }).change(bytes);
    };
    return { ...edit, isWhole: false, change };
  };
  return { ...real, refcountEdit };
});

vi.mock("../support/machine.ts", async (original) => {
  const real = await original<typeof import("../support/machine.ts")>();
  class Machine extends real.Machine {
    constructor(...args: ConstructorParameters<typeof real.Machine>) {
      super(...args);
      planted.processes += 1;
      planted.step = "recover";
    }
  }
  class MachineDisk extends real.MachineDisk {
    override async sync(): Promise<void> {
      if (planted.bug.skipsSync?.({ ...here(), path: this.path }) !== true) await super.sync();
    }

    override async write(offset: number, data: Uint8Array): Promise<void> {
      const cut = planted.bug.splitsWrite?.({ ...here(), path: this.path });
      if (cut === undefined) await super.write(offset, data);
      else {
        await super.write(offset, data.subarray(0, cut));
        await super.write(offset + cut, data.subarray(cut));
      }
    }
  }
  return { ...real, Machine, MachineDisk };
});

vi.mock("../support/simulated-store.ts", async (original) => {
  const real = await original<typeof import("../support/simulated-store.ts")>();
  const { decodeRecord } = await import("../../journal/record.ts");
  class SimulatedStore extends real.SimulatedStore {
    override async put(...args: Parameters<InstanceType<typeof real.SimulatedStore>["put"]>): Promise<void> {
      const [entries, sync, stale] = args;
      const records = entries.filter(([key]) => !key.startsWith("!"));
      const kinds = records.map(([, value]) => decodeRecord(value).kind as string);
      const { unsyncedRecord = "" } = planted.bug;
      await super.put(entries, sync && !kinds.includes(unsyncedRecord), stale);
    }
  }
  return { ...real, SimulatedStore };
});

afterEach(() => {
  plant({});
  vi.restoreAllMocks();
});

describe("without a planted bug the lab finds nothing:", () => {
  test.each(ALL_SUBJECTS)("%s", async (subject) => {
    plant({});
    await expect(exploreSubject(subject)).resolves.toBeUndefined();
  });
});

describe("the lab finds", () => {
  test("at least 25 planted bugs", () => {
    expect(new Set(CANARIES.map(({ name }) => name)).size).toBe(CANARIES.length);
    expect(CANARIES.length).toBeGreaterThanOrEqual(25);
  });

  test.each(CANARIES.flatMap((canary) => canary.subjects.map((subject) => ({ ...canary, subject }))))(
    "$name ($subject)",
    async ({ subject, bug, says = /./, repair }) => {
      plant(bug);
      bug.journal?.();
      const found = await exploreSubject(subject, repair).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(found, "the canary survived").toBeInstanceOf(CrashError);
      expect((found as Error).message).toMatch(says);
    },
  );
});
