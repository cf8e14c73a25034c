import { openFileDisk } from "../../disk/index.ts";
import { throwIfAborted, withPath } from "../../errors/index.ts";
import { diffRoots, openRoots, rootOf } from "../diff/index.ts";
import type { SnapshotRef } from "../diff/index.ts";
import type { OpenState, OpenStateOptions } from "../open-state.ts";
import { encodeStream } from "./encode-stream.ts";

export interface SendOptions {
  /** What the receiver has: a snapshot by its name or `{ id }`. Default: nothing, for a full stream. */
  readonly from?: SnapshotRef;
  /** What it is to have. Default: the disk as it is. */
  readonly to?: SnapshotRef;
  /** Take no lock, as `qemu-img -U`: beside a running VM. Only what snapshots hold stands still there, so that `to` is needed. */
  readonly forceShare?: boolean;
  /** Ends it with ABORTED. */
  readonly signal?: AbortSignal;
  /** Told how many bytes of the disk are behind. */
  readonly onProgress?: (done: number, total: number) => void;
}

const CALLED_OFF = "Sending was called off. The stream is not complete; the image was not changed.";

/**
 * The stream that makes one state of an image of another, or of nothing:
 * `receiveStream` applies it. All of `from` is read, for the digest of what the
 * receiver must have, and of `to` what is mapped differently. The image is locked
 * as a reader does until the stream ends or is left.
 *
 * @throws TypeError for `forceShare` without `to`
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, NEEDS_RECOVERY, IMAGE_NOT_QCOW2, IMAGE_INVALID,
 * IMAGE_UNSUPPORTED, SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, IMAGE_CHANGED, ABORTED, IO_FAILED
 */
export async function* sendSnapshot(
  path: string,
  openState: OpenState,
  options: SendOptions = {},
): AsyncGenerator<Buffer> {
  const { from, to, signal, onProgress } = options;
  const forceShare = options.forceShare === true;
  if (forceShare && to === undefined) {
    throw new TypeError("Beside a running VM only a snapshot can be sent: the disk changes meanwhile");
  }
  const file = await openFileDisk(path, forceShare ? "read-unlocked" : "read");
  try {
    const { disk, image, roots } = await openRoots(file, !forceShare, (found) => ({
      from: from === undefined ? undefined : rootOf(found, from),
      to: rootOf(found, to),
    }));
    await using states = new States(openState, disk.path, {
      forceShare,
      ...(signal === undefined ? {} : { signal }),
    });
    const content = {
      to: await states.open(to),
      ...(roots.from === undefined
        ? {}
        : {
            from: await states.open(from),
            changed: diffRoots(disk, image.header.geometry, roots.from, roots.to),
          }),
    };
    const names = { image: disk.path, from: roots.from ?? null, to: roots.to };
    yield* encodeStream(names, content, {
      checkpoint: (done, total) => {
        throwIfAborted(signal, CALLED_OFF);
        onProgress?.(done, total);
      },
    });
  } catch (error) {
    throw withPath(error, file.path);
  } finally {
    await file.close();
  }
}

/** Closes whatever was opened, in whichever order things fail. */
class States implements AsyncDisposable {
  readonly #openState: OpenState;
  readonly #path: string;
  readonly #how: Omit<OpenStateOptions, "snapshot">;
  readonly #opened: Awaited<ReturnType<OpenState>>[] = [];

  constructor(openState: OpenState, path: string, how: Omit<OpenStateOptions, "snapshot">) {
    this.#openState = openState;
    this.#path = path;
    this.#how = how;
  }

  async open(snapshot: SnapshotRef | undefined): Promise<Awaited<ReturnType<OpenState>>> {
    const state = await this.#openState(this.#path, {
      ...this.#how,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    this.#opened.push(state);
    return state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const state of this.#opened) await state.close();
  }
}
