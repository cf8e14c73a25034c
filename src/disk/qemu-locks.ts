import { readFile } from "node:fs/promises";
import { tryLock, unlock } from "fs-native-extensions";

/**
 * The locks by which QEMU keeps processes apart: OFD locks on single bytes.
 * Byte 100+i held means "I use permission i", byte 200+i "nobody else may use
 * it". POSIX record locks and flock are other lock spaces and stop nothing.
 */
const CONSISTENT_READ = 0;
const WRITE = 1;
const RESIZE = 3;
const USES = 100;
const FORBIDS = 200;
const RANGE_LENGTH = 200;

/**
 * Exclusive over every byte QEMU may lock: fails while any qemu has the image
 * open, and makes each later one fail. Held until the descriptor is closed.
 */
export function lockForWriting(fd: number): boolean {
  return tryLock(fd, USES, RANGE_LENGTH);
}

/** What a reader holds, and what nobody else may hold meanwhile. */
const READER_HOLDS = [USES + CONSISTENT_READ, FORBIDS + WRITE, FORBIDS + RESIZE];
const READER_EXCLUDES = [FORBIDS + CONSISTENT_READ, USES + WRITE, USES + RESIZE];

/**
 * What `qemu-img snapshot -l` takes: beside other readers, never beside a
 * writer. Shared locks first, then a test that nobody holds what they exclude.
 * `canWrite` says whether the descriptor is open for writing.
 */
export async function lockForReading(fd: number, inode: number, canWrite: boolean): Promise<boolean> {
  if (!READER_HOLDS.every((byte) => tryLock(fd, byte, 1, { shared: true }))) return false;
  if (canWrite) return READER_EXCLUDES.every((byte) => isFree(fd, byte));
  return !(await lockedBytes(inode)).some(([start, end]) =>
    READER_EXCLUDES.some((byte) => start <= byte && byte <= end),
  );
}

/** Node can take locks but not query them: an exclusive lock that is had and given back is the query. */
function isFree(fd: number, byte: number): boolean {
  if (!tryLock(fd, byte, 1)) return false;
  unlock(fd, byte, 1);
  return true;
}

/**
 * Whether a VM, or another qemu that writes, has the file open. A lock of ours
 * reaches over every byte, where QEMU locks some of them.
 */
export async function isHeldByQemuWriter(inode: number): Promise<boolean> {
  const byte = USES + WRITE;
  return (await lockedBytes(inode)).some(
    ([start, end]) => start <= byte && byte <= end && end - start + 1 < RANGE_LENGTH,
  );
}

/**
 * OFD-locked byte ranges of a file by its inode, from /proc/locks: the only
 * answer there is for a file that we may not open for writing, because the
 * kernel gives an exclusive lock to writers only. Device numbers there differ
 * from those of stat on some file systems, so the inode alone decides.
 */
async function lockedBytes(inode: number): Promise<readonly (readonly [start: number, end: number])[]> {
  const text = await readFile("/proc/locks", "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    const match = /OFDLCK.*:(\d+) (\d+) (\d+|EOF)$/.exec(line);
    if (match === null || Number(match[1]) !== inode) return [];
    return [[Number(match[2]), match[3] === "EOF" ? Infinity : Number(match[3])] as const];
  });
}
