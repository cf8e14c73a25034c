/**
 * Applies a stream to a raw file. All of a stream is verified before the first
 * byte of a target changes, and each frame again before it is used.
 *
 * A full stream makes a new file, which gets its name when all of it is there and
 * verified. An incremental one changes the target in place, because a copy of a
 * large disk costs more than the change: a mark beside it, durable before the
 * first write, names the stream, so that after a crash the same stream goes on
 * from whatever the crash has left (each record says what is to be there, not what
 * was) and every other one is refused.
 */
import { applyInPlace, planInPlace } from "./apply-in-place.ts";
import { makeNew, planNew } from "./make-new.ts";
import { newRawFile } from "./new-raw-file.ts";
import { type ReceiveOptions, type ReceiveReport, reportOf } from "./receiving.ts";
import { resolvedTarget, withVerified } from "./verified-stream.ts";

/**
 * Makes `target`, a raw file, hold what a stream leads to: a new file for a full
 * stream, else the file that holds what the stream begins with. `source` is a path
 * or the bytes; what cannot be read twice is kept in a nameless file beside the
 * target meanwhile. No other process may use
 * the target; a qemu that does is respected.
 *
 * May be killed and called again with the same stream, and does nothing when all
 * was done before.
 *
 * @throws QcowalError STREAM_INVALID and TARGET_MISMATCH before the target is touched; IMAGE_NOT_FOUND,
 * IMAGE_IN_USE, IMAGE_UNSUPPORTED (a target that is no regular file), ABORTED, NO_SPACE, IO_FAILED
 */
export async function receiveStream(
  target: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ReceiveOptions = {},
): Promise<ReceiveReport> {
  const path = await resolvedTarget(target);
  const dryRun = options.dryRun === true;
  return withVerified(path, source, options, async (stream) => {
    const isFull = stream.header.from === null;
    const file = newRawFile(stream, options);
    const [make, apply] = dryRun ? [planNew, planInPlace] : [makeNew, applyInPlace];
    const result = isFull ? await make(path, stream, file) : await apply(path, stream, options);
    return reportOf(path, stream, result, dryRun);
  });
}
