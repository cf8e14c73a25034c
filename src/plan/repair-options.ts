/** How a repair reads an image. */
export interface RepairOptions {
  /** Called for each table and refcount block that is read: what it throws calls the planning off. */
  readonly onTable?: (() => void) | undefined;
  /** How much of counts and refcounts is held at a time; for tests, which have small images. */
  readonly windowBytes?: number | undefined;
}
