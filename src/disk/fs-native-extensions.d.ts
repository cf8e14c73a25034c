/** The part of fs-native-extensions that is used here; the package ships no types. */
declare module "fs-native-extensions" {
  /** OFD lock on a byte range; false when another open file description holds it. */
  export function tryLock(
    fd: number,
    offset: number,
    length: number,
    options?: { shared?: boolean },
  ): boolean;
  export function unlock(fd: number, offset: number, length: number): void;
  /** Punches a hole: the range reads as zeros, its blocks are free, the file's length stays. */
  export function trim(fd: number, offset: number, length: number): Promise<void>;
}
