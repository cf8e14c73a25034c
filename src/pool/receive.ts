import {
  type EngineContext,
  type Made,
  type RunOptions,
  currentActor,
  recordMade,
  runTransaction,
} from "../engine/index.ts";
import { readImage } from "../image/index.ts";
import { QcowalError, isQcowalError, reasonOf } from "../errors/index.ts";
import {
  ReceivedBefore,
  ReceivedImage,
  type ReceiveOptions,
  type ReceiveReport,
  type VerifiedStream,
  exists,
  makeNew,
  newImageFile,
  operationsOf,
  receiveReport,
  withVerified,
} from "../export/index.ts";

export interface ImageReceiveOptions extends ReceiveOptions, Pick<RunOptions, "actor" | "reason"> {
  /**
   * Under which name what was received is kept as a snapshot, in the same
   * transaction; false for none. Default: the name that it has where it was sent,
   * and none for a disk that was sent as it was.
   */
  readonly snapshot?: string | false;
}

export interface ImageReceiveReport extends ReceiveReport {
  /** Name of the snapshot that was taken; null for none. */
  readonly kept: string | null;
  /** Number in the record; null where nothing was changed. */
  readonly transaction: number | null;
}

/** Receives a stream into the image at `path`, or makes it of a full one. See `Pool.receive`. */
export function receiveInto(
  context: EngineContext,
  path: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ImageReceiveOptions,
): Promise<ImageReceiveReport> {
  return withVerified(path, source, options, async (stream) => {
    const snapshot = nameFor(stream, options.snapshot);
    if (await exists(path)) return change(context, path, stream, snapshot, options);
    if (stream.header.from !== null) {
      throw new QcowalError(
        "IMAGE_NOT_FOUND",
        `${path}: no such image, and ${stream.name} changes one that is there. Nothing was changed; receive a full stream first.`,
        { details: { path } },
      );
    }
    const file = newImageFile(stream, snapshot, options, context.environment.now());
    const asked = context.environment.now();
    const result = await makeNew(path, stream, file);
    if (result !== "created")
      return { ...receiveReport(path, stream, result), kept: null, transaction: null };
    const transaction = await record(context, path, {
      operations: operationsOf(path, stream, snapshot),
      actor: currentActor(context.environment.program, options.actor),
      reason: options.reason,
      asked,
    });
    return { ...receiveReport(path, stream, result), kept: snapshot ?? null, transaction };
  });
}

async function record(context: EngineContext, path: string, made: Made): Promise<number> {
  const disk = await context.environment.openDisk(path, "read");
  try {
    return await recordMade(context, await readImage(disk), made);
  } catch (cause) {
    const code = isQcowalError(cause) ? cause.code : "IO_FAILED";
    const why = `${path} was made, but the journal could not record that: ${reasonOf(cause)}`;
    throw new QcowalError(code, why, { cause, details: { path } });
  } finally {
    await disk.close();
  }
}

function nameFor({ header }: VerifiedStream, wanted: string | false | undefined): string | undefined {
  if (wanted === false) return undefined;
  return wanted ?? header.to.snapshot?.name;
}

async function change(
  context: EngineContext,
  path: string,
  stream: VerifiedStream,
  snapshot: string | undefined,
  options: ImageReceiveOptions,
): Promise<ImageReceiveReport> {
  const { actor, reason, signal } = options;
  await using received = new ReceivedImage(stream, snapshot, options);
  let resumed: number | undefined;
  try {
    const { transaction } = await runTransaction(
      context,
      new Map([[path, operationsOf(path, stream, snapshot)]]),
      {
        ...(actor === undefined ? {} : { actor }),
        ...(reason === undefined ? {} : { reason }),
        ...(signal === undefined ? {} : { signal }),
        openReceived: received.open,
        onProgress: ({ recovered }) => {
          if (recovered?.result !== "finished") return;
          const isIt = recovered.operations.some(
            (operation) => operation.type === "receive" && operation.stream === stream.digest,
          );
          if (isIt) resumed = recovered.transaction;
        },
      },
    );
    return { ...receiveReport(path, stream, "applied"), kept: snapshot ?? null, transaction };
  } catch (error) {
    if (!(error instanceof ReceivedBefore)) throw error;
    if (resumed === undefined) {
      return { ...receiveReport(path, stream, "unchanged"), kept: null, transaction: null };
    }
    return { ...receiveReport(path, stream, "resumed"), kept: snapshot ?? null, transaction: resumed };
  }
}
