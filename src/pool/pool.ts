import { type CompactionReport, type Journal, type JournalInfo } from "../../journal/index.ts";
import {
  type DryRunReport,
  type EngineContext,
  type Environment,
  type InternalRunOptions,
  type RunOptions,
  type RunReport,
  currentActor,
  dryRun,
  groupByImage,
  isPathTopic,
  recoverPending,
  runTransaction,
} from "../engine/index.ts";
import {
  type HistoryEntry,
  type Moment,
  type SnapshotNode,
  type SnapshotTree,
  liveNodes,
} from "../history/index.ts";
import { type View, type ViewOptions, openView, resolvedTarget } from "../export/index.ts";
import type { Operation } from "../plan/index.ts";
import { type CheckOptions, type CheckReport, checkImage } from "./check.ts";
import { type CompactOptions, compactJournal } from "./compact.ts";
import { type Blame, HistoryReader, type HistoryQuery, type PlannedIntent } from "./history-reader.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import {
  type PruneOptions,
  type PruneReport,
  type RetentionPolicy,
  checkPolicy,
  pruneImages,
} from "./prune.ts";
import {
  type DeleteOptions,
  type Images,
  type MendOptions,
  type RecoverOptions,
  type RecoveryReport,
  type RenameOptions,
  type RevertOptions,
  type SnapshotOptions,
  type SnapshotRef,
  type UndoOptions,
  selection,
} from "./pool-options.ts";
import { recordStatus } from "./record-status.ts";
import type { ImageStatus, StatusOptions } from "./status.ts";
import { TransactionEvents, type TransactionListener, assertEvent } from "./transaction-events.ts";
import { Entrance } from "./entrance.ts";
import { given } from "./given.ts";
import { guardHolds } from "./guard-holds.ts";
import {
  type AnyUndoReport,
  type HoldOptions,
  type HoldReport,
  type UndoReport,
  noteHolds,
  undoHold,
} from "./holds.ts";
import { planUndo } from "./plan-undo.ts";
import { type ImageReceiveOptions, type ImageReceiveReport, receiveInto } from "./receive.ts";
import { type ListOptions, type SnapshotInfo, listSnapshots } from "./list-snapshots.ts";

/** A journal and the operations that it records. */
export class Pool implements AsyncDisposable {
  readonly #journal: Journal;
  readonly #context: EngineContext;
  /** Operations on one image wait for each other; those on different images do not. */
  readonly #queue = new KeyedQueue();
  readonly #entrance = new Entrance();
  readonly #events: TransactionEvents;
  readonly #history: HistoryReader;

  /** @internal Use `openPool`. */
  constructor(journal: Journal, environment: Environment) {
    this.#journal = journal;
    this.#context = { journal, environment };
    this.#events = new TransactionEvents(journal);
    this.#history = new HistoryReader(journal);
  }

  /** Absolute path of the journal. */
  get journal(): string {
    return this.#journal.dir;
  }

  /**
   * Runs operations as one transaction: after a crash at any point and a
   * recovery, every image is as before all of them or as after all of them.
   * What an interrupted transaction left on these images is recovered first.
   * With `dryRun` nothing is written and the plan is returned.
   *
   * @throws TypeError for malformed operations
   * @throws QcowalError before anything is changed: IMAGE_NOT_FOUND, IMAGE_NOT_QCOW2, IMAGE_INVALID,
   * IMAGE_UNSUPPORTED, IMAGE_DAMAGED, IMAGE_IN_USE, SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, SNAPSHOT_EXISTS,
   * SNAPSHOT_NAME_INVALID, REFCOUNT_OVERFLOW, LIMIT_EXCEEDED, NO_SPACE, ABORTED, IO_FAILED
   * @throws QcowalError NEEDS_RECOVERY when it was interrupted while writing, FOREIGN_WRITE
   */
  run(
    operations: readonly Operation[],
    options: RunOptions & { readonly dryRun: true },
  ): Promise<DryRunReport>;
  run(
    operations: readonly Operation[],
    options?: RunOptions & { readonly dryRun?: false },
  ): Promise<RunReport>;
  run(
    operations: readonly Operation[],
    options?: RunOptions & { readonly dryRun?: boolean },
  ): Promise<RunReport | DryRunReport>;
  async run(
    operations: readonly Operation[],
    options: RunOptions & { readonly dryRun?: boolean } = {},
  ): Promise<RunReport | DryRunReport> {
    return this.#run(operations, options);
  }

  #run(
    operations: readonly Operation[],
    options: InternalRunOptions & { readonly dryRun?: boolean },
  ): Promise<RunReport | DryRunReport> {
    return this.#entrance.enter(async () => {
      const groups = await groupByImage(this.#context.environment, operations);
      const holds = guardHolds(this.#journal, this.#context.environment);
      const guarded = { ...options, guards: [...(options.guards ?? []), holds] };
      const result = this.#queue.run<RunReport | DryRunReport>([...groups.keys()], () =>
        options.dryRun === true
          ? dryRun(this.#context.environment, groups, guarded)
          : this.#events.deliveredAfter(runTransaction(this.#context, groups, guarded)),
      );
      return { result };
    });
  }

  /** Takes a snapshot of the active layer. `force` allows a second one of the same name, or an empty name. */
  create(image: string, name: string, options: SnapshotOptions = {}): Promise<RunReport> {
    const { force, auto, ...rest } = options;
    return this.run([{ type: "create", image, name, ...given({ force, auto }) }], rest);
  }

  /** Makes the active layer equal to a snapshot; what was written since is gone, unless a snapshot `keep` is taken of it. See `RevertOperation`. */
  revert(image: string, snapshot: SnapshotRef, options: RevertOptions = {}): Promise<RunReport> {
    const { dropBitmaps, keep, ...rest } = options;
    const operation = {
      type: "revert",
      image,
      ...selection(snapshot),
      ...given({ dropBitmaps, keep }),
    } as const;
    return this.run([operation], rest);
  }

  /** Deletes a snapshot, or with `recoverableFor` hides it for so many milliseconds. See `DeleteOperation`. */
  delete(image: string, snapshot: SnapshotRef, options: DeleteOptions = {}): Promise<RunReport> {
    const { recoverableFor, evenIfHeld, ...rest } = options;
    const how = given({ recoverableFor, evenIfHeld });
    return this.run([{ type: "delete", image, ...selection(snapshot), ...how }], rest);
  }

  /**
   * Undoes a transaction on all images that it changed, as a new one that refers
   * to it: a create is deleted, a rename and a recoverable delete get the name
   * back, a revert with `keep` goes back to what was kept. A hold is released, and the other way round.
   * What was interrupted on the image is recovered first.
   * @throws QcowalError UNDO_IMPOSSIBLE, TRANSACTION_NOT_FOUND, and what `run` throws; NEEDS_RECOVERY of a dry run
   */
  undo(image: string, options: UndoOptions & { readonly dryRun: true }): Promise<UndoReport<DryRunReport>>;
  undo(image: string, options?: UndoOptions & { readonly dryRun?: false }): Promise<UndoReport>;
  undo(image: string, options?: UndoOptions & { readonly dryRun?: boolean }): Promise<AnyUndoReport>;
  async undo(
    image: string,
    options: UndoOptions & { readonly dryRun?: boolean } = {},
  ): Promise<AnyUndoReport> {
    const { transaction, keep, ...rest } = options;
    await this.#entrance.assertOpen();
    if (rest.dryRun !== true && this.#journal.pending().length > 0)
      await this.recover([image], given({ actor: rest.actor }));
    const { hold, ...undo } = await planUndo(this.#journal, image, transaction, keep);
    if (hold !== undefined) return this.#onImages([image], (context) => undoHold(context, hold, rest));
    return this.#run(undo.operations, { ...rest, ...undo.options });
  }

  /** Gives a snapshot another name; its id stays. `force` allows a name that another one has, or an empty name. */
  rename(image: string, snapshot: SnapshotRef, to: string, options: RenameOptions = {}): Promise<RunReport> {
    const { force, ...rest } = options;
    return this.run([{ type: "rename", image, ...selection(snapshot), to, ...given({ force }) }], rest);
  }

  /** Keeps `delete`, `prune` and a repair that gives up from a snapshot, until it is released. The same tag again is the same hold. */
  hold(images: Images, snapshot: SnapshotRef, options: HoldOptions = {}): Promise<HoldReport> {
    return this.#onImages([images].flat(), (...where) => noteHolds(...where, "hold", snapshot, options));
  }

  /** @throws QcowalError SNAPSHOT_NOT_HELD when nobody holds it under the tag */
  release(images: Images, snapshot: SnapshotRef, options: HoldOptions = {}): Promise<HoldReport> {
    return this.#onImages([images].flat(), (...where) => noteHolds(...where, "release", snapshot, options));
  }

  /**
   * Removes the snapshots that no rule keeps, one transaction for each image, or one for
   * all with `group`. An image that cannot be pruned is reported and holds up no other.
   * @throws TypeError for a malformed policy, or one without a rule; QcowalError as `run`, with `group`
   */
  async prune(
    images: readonly string[],
    policy: RetentionPolicy,
    options: PruneOptions = {},
  ): Promise<PruneReport> {
    checkPolicy(policy);
    return this.#onImages(images, (context, paths) => pruneImages(context, paths, policy, options));
  }

  /**
   * Makes an image hold what a stream leads to: one that holds what it begins with, by a
   * transaction, or a new one of a full stream. `source` is a path or the bytes. With
   * `dryRun` nothing is written: see `planReceive`, which needs no pool.
   * @throws QcowalError STREAM_INVALID, TARGET_MISMATCH before anything is changed, and as `run`
   */
  receive(
    image: string,
    source: string | AsyncIterable<Uint8Array>,
    options: ImageReceiveOptions = {},
  ): Promise<ImageReceiveReport> {
    const act = (context: EngineContext, [path = image]: string[]): Promise<ImageReceiveReport> =>
      receiveInto(context, path, source, options);
    return this.#onImages([image], act, resolvedTarget);
  }

  async #onImages<R>(
    images: readonly string[],
    act: (context: EngineContext, paths: string[]) => Promise<R>,
    resolve = (image: string): Promise<string> => this.#context.environment.resolvePath(image),
  ): Promise<R> {
    return this.#entrance.enter(async () => {
      const paths = await Promise.all(images.map(resolve));
      return { result: this.#queue.run(paths, () => this.#events.deliveredAfter(act(this.#context, paths))) };
    });
  }

  /** Mends refcounts, COPIED flags and marks of damage that others left; content stays as it is. */
  repair(image: string, options: MendOptions = {}): Promise<RunReport> {
    const { what, harden, dropDamagedSnapshots, evenIfHeld, ...rest } = options;
    const how = given({ what, harden, dropDamagedSnapshots, evenIfHeld });
    return this.run([{ type: "repair", image, ...how }], rest);
  }

  /** The snapshots of an image, as `listSnapshots` without a pool. What others did to an image of the record is recorded, as by `status`. */
  async list(image: string, options: ListOptions = {}): Promise<SnapshotInfo[]> {
    const snapshots = await listSnapshots(image, options);
    await this.#notice(image, options);
    return snapshots;
  }

  /** Checks all metadata of an image, as `checkImage` without a pool, and records as `list` does. */
  async check(image: string, options: CheckOptions = {}): Promise<CheckReport> {
    const report = await checkImage(image, options);
    await this.#notice(image, options);
    return report;
  }

  /** Opens a snapshot, or else the active layer, for reading: see `openView`, which does the same without a pool. */
  view(image: string, snapshot?: SnapshotRef, options: Omit<ViewOptions, "snapshot"> = {}): Promise<View> {
    return openView(image, { ...options, ...(snapshot === undefined ? {} : { snapshot }) });
  }

  /** Whoever only looks at an image gets his answer, whatever becomes of this. */
  async #notice(image: string, { forceShare = false }: StatusOptions): Promise<void> {
    if (!this.#journal.isFresh) await this.status(image, { forceShare }).catch(() => undefined);
  }

  /**
   * Finishes what was interrupted, or proves that it never began: everything
   * pending in the journal, or what is pending on `images`. A transaction that
   * cannot be recovered is reported in `failed` and does not hold up the others.
   *
   * @throws QcowalError NEEDS_RECOVERY when one of `images` is fenced by another journal, IMAGE_NOT_FOUND, ABORTED
   */
  async recover(images?: readonly string[], options: RecoverOptions = {}): Promise<RecoveryReport> {
    return this.#entrance.enter(async () => {
      const { actor: name, ...rest } = options;
      const by = { ...rest, actor: currentActor(this.#context.environment.program, name) };
      const paths =
        images && (await Promise.all(images.map((image) => this.#context.environment.resolvePath(image))));
      return {
        result: this.#queue.runAlone(() =>
          this.#events.deliveredAfter(recoverPending(this.#context, paths, by)),
        ),
      };
    });
  }

  /** The record, oldest first: everything, or what touched `images` (which may be gone). */
  async *history(images?: Images, query: HistoryQuery = {}): AsyncGenerator<HistoryEntry> {
    await this.#entrance.assertOpen();
    yield* this.#history.entries(images, query);
  }

  /** One transaction or note by its number. @throws QcowalError TRANSACTION_NOT_FOUND */
  async transaction(number: number): Promise<HistoryEntry> {
    await this.#entrance.assertOpen();
    return this.#history.transaction(number);
  }

  /** The plan of a transaction as it was logged, in the order in which it is applied. */
  async *intents(number: number): AsyncGenerator<PlannedIntent> {
    await this.#entrance.assertOpen();
    yield* this.#history.intents(number);
  }

  /**
   * The snapshots of an image as a tree, now or at a moment, from the record
   * alone: the image may be gone.
   * @throws QcowalError NOT_RECORDED
   */
  async tree(image: string, moment?: Moment): Promise<SnapshotTree> {
    await this.#entrance.assertOpen();
    return this.#history.tree(image, moment);
  }

  /** The snapshots that an image had at a moment, in table order, from the record alone. @throws as `tree` */
  async asOf(image: string, moment: Moment): Promise<SnapshotNode[]> {
    await this.#entrance.assertOpen();
    return liveNodes(await this.#history.tree(image, moment));
  }

  /**
   * Who took each snapshot that has or had this name (else: this id), from what,
   * who reverted to it and who deleted it.
   * @throws QcowalError NOT_RECORDED, SNAPSHOT_NOT_FOUND
   */
  async blame(image: string, nameOrId: string): Promise<Blame[]> {
    await this.#entrance.assertOpen();
    return this.#history.blame(image, nameOrId);
  }

  /**
   * Compares an image with the record. What others did to an image that the
   * record knows is recorded as an observation, so that it is seen once.
   * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, IMAGE_NOT_QCOW2, IMAGE_INVALID, IMAGE_UNSUPPORTED
   */
  async status(image: string, options: StatusOptions = {}): Promise<ImageStatus> {
    return this.#onImages([image], (context, [path = image]) => recordStatus(context, path, options));
  }

  /**
   * Hears of every transaction of this pool when it has ended, before whoever asked for it
   * does, as the history will have it: done, failed, refused or recovered, and of
   * observations and holds. What a listener throws becomes a process warning.
   */
  on(event: "transaction", listener: TransactionListener): this {
    assertEvent(event, listener);
    this.#events.add(listener);
    return this;
  }

  /** Takes a listener away again. */
  off(event: "transaction", listener: TransactionListener): this {
    assertEvent(event, listener);
    this.#events.remove(listener);
    return this;
  }

  /** What the journal holds, and how large it is. */
  async journalInfo(): Promise<JournalInfo> {
    return this.#onImages([], () => this.#journal.info(isPathTopic));
  }

  /**
   * Drops the intents of transactions that are over from the journal and gives
   * their space back; what was done, when, why and by whom stays, and so does all
   * that is pending. The journal does so by itself when it grows: see the README.
   *
   * @throws TypeError for malformed options
   * @throws QcowalError JOURNAL_DAMAGED when something that is to be dropped does not verify, NO_SPACE, IO_FAILED, ABORTED
   */
  async compact(options: CompactOptions = {}): Promise<CompactionReport> {
    return this.#onImages([], () => compactJournal(this.#journal, this.#context.environment, options));
  }

  /** Waits for what is running, then closes the journal. Idempotent. */
  async close(): Promise<void> {
    await this.#entrance.close(() =>
      this.#queue.runAlone(async () => {
        await this.#events.delivered();
        await this.#journal.close();
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
