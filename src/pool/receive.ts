import {
  type DryRunReport,
  type EngineContext,
  type Environment,
  type Made,
  type RunOptions,
  currentActor,
  dryRun,
  realEnvironment,
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
  planNewImage,
  receiveReport,
  resolvedTarget,
  withVerified,
} from "../export/index.ts";
import type { ImagePlan } from "../plan/index.ts";
import { defaultProgram } from "./default-program.ts";
import { given } from "./given.ts";

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
  /** Of a dry run that would change something: what that takes. */
  readonly plan?: Omit<DryRunReport["images"][number], "phases">;
}

/** Receives a stream into the image at `path`, or makes it of a full one. See `Pool.receive`. */
export function receiveInto(
  context: EngineContext,
  path: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ImageReceiveOptions,
): Promise<ImageReceiveReport> {
  if (options.dryRun === true) return planInto(context.environment, path, source, options);
  return withStream(path, source, options, async (stream, snapshot, isThere) => {
    if (isThere) return change(context, path, stream, snapshot, options);
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

/**
 * What `pool.receive` would do, as its report says it, with `dryRun` true. Writes
 * nothing, neither to the image nor to a journal, of which it needs none. The
 * stream is verified and what the image holds is compared; what it will hold is
 * compared by the receive itself, when that is there.
 * @throws QcowalError STREAM_INVALID, TARGET_MISMATCH, NEEDS_RECOVERY, and as `planOperations`
 */
export async function planReceive(
  image: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ImageReceiveOptions = {},
): Promise<ImageReceiveReport> {
  const environment = realEnvironment(defaultProgram());
  return planInto(environment, await resolvedTarget(image), source, options);
}

function planInto(
  environment: Environment,
  path: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ImageReceiveOptions,
): Promise<ImageReceiveReport> {
  return withStream(path, source, options, async (stream, snapshot, isThere) => {
    const planned = isThere
      ? await planChange(environment, path, stream, snapshot, options)
      : reportOfPlan(path, await planNewImage(path, stream, snapshot, options, environment.now()));
    const nothing = { kept: null, transaction: null };
    if (planned === undefined) return { ...receiveReport(path, stream, "unchanged", true), ...nothing };
    return {
      ...receiveReport(path, stream, isThere ? "applied" : "created", true),
      ...nothing,
      kept: snapshot ?? null,
      plan: planned,
    };
  });
}

const reportOfPlan = (
  image: string,
  { outcomes, summary, fileSize }: ImagePlan,
): NonNullable<ImageReceiveReport["plan"]> => ({ image, outcomes, summary, fileSize });

/** Undefined where nothing is left to do. */
async function planChange(
  environment: Environment,
  path: string,
  stream: VerifiedStream,
  snapshot: string | undefined,
  options: ImageReceiveOptions,
): Promise<ImageReceiveReport["plan"]> {
  await using received = new ReceivedImage(stream, snapshot, options);
  const groups = new Map([[path, operationsOf(path, stream, snapshot)]]);
  const how = { ...given({ signal: options.signal }), openReceived: received.open };
  try {
    const [planned] = (await dryRun(environment, groups, how)).images;
    if (planned === undefined) return undefined;
    const { phases: _, ...plan } = planned;
    return plan;
  } catch (error) {
    if (error instanceof ReceivedBefore) return undefined;
    throw error;
  }
}

/** Hands over a stream that was verified, the name of the snapshot that is wanted, and whether the image is there. */
const withStream = (
  path: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ImageReceiveOptions,
  use: (
    stream: VerifiedStream,
    snapshot: string | undefined,
    isThere: boolean,
  ) => Promise<ImageReceiveReport>,
): Promise<ImageReceiveReport> =>
  withVerified(path, source, options, async (stream) => {
    const isThere = await exists(path);
    if (isThere || stream.header.from === null)
      return use(stream, nameFor(stream, options.snapshot), isThere);
    throw new QcowalError(
      "IMAGE_NOT_FOUND",
      `${path}: no such image, and ${stream.name} changes one that is there. Nothing was changed; receive a full stream first.`,
      { details: { path } },
    );
  });

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
