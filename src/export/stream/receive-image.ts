/**
 * Receives a stream into a qcow2 image. What it brings is written into clusters to
 * which nothing refers, beside L2 tables of their own; the disk as it will be is
 * then read through those, and only when it holds what the stream says is it
 * decided that the image's header leads to them.
 */
import { type Disk, bytesDisk } from "../../disk/index.ts";
import { isQcowalError, withNothingChanged } from "../../errors/index.ts";
import { applyToNewFile } from "../../engine/index.ts";
import { emptyImage } from "../../format/index.ts";
import { type Image, readImage } from "../../image/index.ts";
import {
  type CreateOperation,
  type ImagePlan,
  type OpenReceived,
  type ReceiveOperation,
  planImage,
  snapshotsNamed,
} from "../../plan/index.ts";
import { ActiveGuest } from "../active-guest.ts";
import { newGeometry } from "../new-geometry.ts";
import type { NewFile } from "./make-new.ts";
import { ReceivedDisk } from "./received-disk.ts";
import {
  type ReceiveOptions,
  type VerifiedStream,
  digestOfGuest,
  throwIfAborted,
  whereItStands,
} from "./receiving.ts";

/** Called before each file behind an image is opened. */
const checkpointOf =
  ({ signal }: ReceiveOptions) =>
  (): void =>
    throwIfAborted(signal);

/** Ends the planning of what was done before. It is no error of anybody's, and none that is recorded. */
export class ReceivedBefore extends Error {
  override readonly name = "ReceivedBefore";
}

/** What a stream asks of an image. `snapshot`: under this name what it brings is kept, in the same transaction. */
export function operationsOf(
  image: string,
  { digest, header }: VerifiedStream,
  snapshot: string | undefined,
): [ReceiveOperation, ...CreateOperation[]] {
  const { from, to } = header;
  return [
    { type: "receive", image, stream: digest, from, to },
    ...(snapshot === undefined ? [] : [{ type: "create", image, name: snapshot } as const]),
  ];
}

/** A stream that is received into an image which is there. */
export class ReceivedImage implements AsyncDisposable {
  readonly #stream: VerifiedStream;
  readonly #snapshot: string | undefined;
  readonly #options: ReceiveOptions;
  #guest: ActiveGuest | undefined;

  constructor(stream: VerifiedStream, snapshot: string | undefined, options: ReceiveOptions) {
    this.#stream = stream;
    this.#snapshot = snapshot;
    this.#options = options;
  }

  /**
   * Reads all of the disk. @throws ReceivedBefore
   * @throws QcowalError TARGET_MISMATCH where the stream has no business
   */
  readonly open: OpenReceived = async (image) => {
    try {
      const guest = await ActiveGuest.open(image, checkpointOf(this.#options));
      this.#guest = guest;
      const disk = guest.disk();
      const stands = await whereItStands(image.disk.path, this.#stream, disk.size, () =>
        digestOfGuest(disk, "compare", this.#options),
      );
      const isDone = stands === "done";
      if (isDone && this.#isKept(image)) throw new ReceivedBefore();
      return new ReceivedDisk(this.#stream, guest, isDone, this.#options);
    } catch (error) {
      throw isQcowalError(error) ? withNothingChanged(error) : error;
    }
  };

  /** Also a snapshot that another stream has brought, where both lead to the same. */
  #isKept({ snapshotTable }: Image): boolean {
    return this.#snapshot === undefined || snapshotsNamed(snapshotTable.snapshots, this.#snapshot).length > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guest?.close();
  }
}

/** What makes an empty image hold what a full stream brings. */
async function planned(
  disk: Disk,
  stream: VerifiedStream,
  snapshot: string | undefined,
  options: ReceiveOptions,
  now: number,
): Promise<ImagePlan> {
  const image = await readImage(disk);
  const guest = await ActiveGuest.open(image, checkpointOf(options));
  return planImage(image, operationsOf(disk.path, stream, snapshot), {
    now,
    openReceived: () => Promise.resolve(new ReceivedDisk(stream, guest, false, options)),
  });
}

const emptyFor = ({ header }: VerifiedStream): Uint8Array => emptyImage(newGeometry(header.to.size));

/** What would make an image at `path` of a full stream; the file is not there yet, and is not made. */
export async function planNewImage(
  path: string,
  stream: VerifiedStream,
  snapshot: string | undefined,
  options: ReceiveOptions,
  now: number,
): Promise<ImagePlan> {
  const plan = await planned(bytesDisk(path, emptyFor(stream)), stream, snapshot, options, now);
  return { ...plan, fileSize: { from: 0, to: plan.fileSize.to } };
}

/** An image with what a full stream brings. `now`: the date of its snapshot. */
export const newImageFile = (
  stream: VerifiedStream,
  snapshot: string | undefined,
  options: ReceiveOptions,
  now: number,
): NewFile => ({
  look: async (disk) => {
    const guest = await ActiveGuest.open(await readImage(disk), checkpointOf(options));
    const content = guest.disk();
    return {
      size: content.size,
      digestOf: () => digestOfGuest(content, "compare", options),
      close: () => guest.close(),
    };
  },
  fill: async (disk) => {
    await disk.write(0, emptyFor(stream));
    await applyToNewFile(disk, await planned(disk, stream, snapshot, options, now));
  },
});
