/**
 * Address spaces as types: an offset in the file, a cluster of the file and an
 * offset the guest sees are all numbers, and mixing them up corrupts images.
 * All are safe integers; a u64 from disk becomes one only through `u64ToNumber`.
 */
declare const unit: unique symbol;
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** Byte offset in the image file. */
export type HostOffset = Unit<"host offset">;
/** Index of a cluster of the image file: host offset / cluster size. */
export type HostCluster = Unit<"host cluster">;
/** Byte offset or length in the disk that the guest sees. */
export type GuestOffset = Unit<"guest offset">;

export const hostOffset = (bytes: number): HostOffset => bytes as HostOffset;
export const hostCluster = (index: number): HostCluster => index as HostCluster;
export const guestOffset = (bytes: number): GuestOffset => bytes as GuestOffset;

/** The value as a safe integer, or undefined above 2^53 - 1, where no real image reaches. */
export function u64ToNumber(value: bigint): number | undefined {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
}

/** `value` rounded up to a multiple of `unitSize`. Exact for safe integers. */
export function roundUp(value: number, unitSize: number): number {
  return Math.ceil(value / unitSize) * unitSize;
}

/** Sector of the crash model: what a disk writes whole or not at all. */
export const SECTOR_SIZE = 512;
