/** The bugs that are planted now. The mocks of the test consult this; nothing of it is in a real build. */
import type { Disk } from "../../../src/disk/index.ts";
import type { RecoveryAction, JournalState, FenceState } from "../../../src/engine/recovery-table.ts";
import type { HeaderIntent, Phase } from "../../../src/intent/index.ts";
import type { Census, Image } from "../../../src/image/index.ts";
import type { CopiedIntents } from "../../../src/plan/copied-intents.ts";
import type { ImagePlan, RepairOperation } from "../../../src/plan/index.ts";
import type { ReadableSnapshots } from "../../../src/plan/readable-snapshots.ts";
import type { RefcountChanges } from "../../../src/plan/refcount-changes.ts";
import type { BelievedRefcounts } from "../../../src/plan/repair-refcounts.ts";
import type { PhasePart } from "../../../src/engine/bodies.ts";
import type { Step } from "../../../src/engine/options.ts";

/** Where the process that writes stands. */
export interface Place {
  readonly isRecovery: boolean;
  readonly step: Step | Phase | "judge" | "give-back" | "unfence";
  readonly path: string;
}

export interface Bug {
  /** Changes a plan. */
  readonly plan?: (plan: ImagePlan) => ImagePlan;
  /** Changes the intent of a fence. */
  readonly fence?: (fence: HeaderIntent) => HeaderIntent;
  /** Leaves a sync out. */
  readonly skipsSync?: (place: Place) => boolean;
  /** Writes in several pieces what has to be one write. */
  readonly splitsWrite?: (place: Place) => number | undefined;
  /** Leaves the removal of a fence out, or does it another way. */
  readonly unfence?: (disk: Disk, fence: HeaderIntent, real: Unfence) => Promise<void>;
  readonly giveBack?: (disk: Disk, fence: HeaderIntent, real: () => Promise<void>) => Promise<void>;
  readonly skipsTidying?: boolean;
  /** Decides otherwise than the recovery table. */
  readonly decide?: (journal: JournalState, fence: FenceState, action: RecoveryAction) => RecoveryAction;
  /** Changes what is applied, in an operation or in a replay. */
  readonly parts?: (part: PhasePart, place: Omit<Place, "path">) => PhasePart[];
  /** Adds the difference to a refcount instead of storing the value. */
  readonly addsRefcounts?: boolean;
  /** Leaves the sync of a record out, by its kind. */
  readonly unsyncedRecord?: string;
  /** Plans another repair than the one that was asked for. */
  readonly repairAs?: (operation: RepairOperation) => RepairOperation;
  /** What a repair takes for the snapshots that can be counted. */
  readonly readable?: (found: ReadableSnapshots) => ReadableSnapshots;
  /** Which of them a repair takes for those that contradict the rest. */
  readonly contradictory?: (image: Image) => ReadableSnapshots["damaged"];
  /** What a repair thinks of the refcount structures. */
  readonly believes?: (
    image: Image,
    census: Census,
    real: () => Promise<BelievedRefcounts>,
  ) => Promise<BelievedRefcounts>;
  /** What a repair finds when it compares refcounts with references. */
  readonly differences?: (census: Census, real: () => RefcountChanges) => RefcountChanges;
  /** Changes the COPIED flags that a repair changes. */
  readonly flags?: (flags: CopiedIntents, image: Image) => Promise<void> | void;
  /** Hands out clusters that a repair must not use. */
  readonly allocatesAnywhere?: boolean;
  /** Replaces methods of the journal. */
  readonly journal?: () => void;
}

type Unfence = (disk: Disk, fence: HeaderIntent) => Promise<void>;

interface Planted {
  bug: Bug;
  /** How many processes were started; the first one is the operation. */
  processes: number;
  step: Place["step"];
  /** The fence of each image by its path, for bugs that remove it early. */
  fences: Map<string, HeaderIntent>;
}

export const planted: Planted = { bug: {}, processes: 0, step: "recover", fences: new Map() };

export const here = (): Omit<Place, "path"> => ({ isRecovery: planted.processes > 1, step: planted.step });

export function plant(bug: Bug): void {
  planted.bug = bug;
  planted.processes = 0;
  planted.step = "recover";
  planted.fences.clear();
}
