import type { Disk } from "../disk/index.ts";
import type { Image } from "../image/index.ts";
import type { ImagePlan, JournaledOperation } from "../plan/index.ts";

export interface PlannedImage {
  readonly disk: Disk;
  readonly image: Image;
  readonly operations: readonly JournaledOperation[];
  readonly plan: ImagePlan;
}

/** Judges, while all images are locked and before anything is recorded: what it throws refuses the transaction. */
export interface Guard {
  /** Each image as it is, before anything is planned for it: a plan may be impossible for the same reason. */
  readonly found?: (image: Image) => void;
  /** What is planned for all of them. */
  readonly planned?: (images: readonly PlannedImage[]) => Promise<void>;
}
