import { QcowalError, isQcowalError } from "../errors/index.ts";
import { type Geometry, geometryOf, l1EntriesFor } from "./geometry.ts";
import { layout, readField, readField64 } from "./layout.ts";
import { MAX_BACKING_NAME_BYTES, MAX_L1_ENTRIES, MAX_REFCOUNT_TABLE_BYTES, MAX_SNAPSHOTS } from "./limits.ts";
import { type GuestOffset, type HostOffset, guestOffset, hostOffset, u64ToNumber } from "./units.ts";

const V2_FIELDS = [
  ["magic", 4],
  ["version", 4],
  ["backingFileOffset", 8],
  ["backingFileSize", 4],
  ["clusterBits", 4],
  ["size", 8],
  ["cryptMethod", 4],
  ["l1Size", 4],
  ["l1TableOffset", 8],
  ["refcountTableOffset", 8],
  ["refcountTableClusters", 4],
  ["nbSnapshots", 4],
  ["snapshotsOffset", 8],
] as const;

/** The qcow2 header: 72 bytes in version 2, at least 104 in version 3. */
export const HEADER = layout(104, [
  ...V2_FIELDS,
  ["incompatibleFeatures", 8],
  ["compatibleFeatures", 8],
  ["autoclearFeatures", 8],
  ["refcountOrder", 4],
  ["headerLength", 4],
]);
export const V2_HEADER_LENGTH = 72;
export const V3_HEADER_LENGTH = 104;
/** Byte 104, present when the header is longer than 104 bytes. */
const COMPRESSION_TYPE_OFFSET = V3_HEADER_LENGTH;
/** Enough bytes to decode every field this program knows. */
export const HEADER_PROBE_BYTES = 112;

/** The first four bytes of an image. */
export const QCOW2_MAGIC = 0x514649fb;

/** Incompatible feature bits that this program understands. */
export const INCOMPATIBLE = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalDataFile: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const;
const KNOWN_INCOMPATIBLE = Object.values(INCOMPATIBLE).reduce((all, bit) => all | bit, 0n);

/** Autoclear bit 0: the bitmaps extension is consistent with the guest data. */
export const AUTOCLEAR_BITMAPS = 1n << 0n;
export const AUTOCLEAR_RAW_EXTERNAL = 1n << 1n;
/** Encryption methods: 0 none, 1 the old AES, 2 LUKS. */
export const CRYPT_LUKS = 2;
export const KNOWN_AUTOCLEAR = AUTOCLEAR_BITMAPS | AUTOCLEAR_RAW_EXTERNAL;

/**
 * The fence: an incompatible feature bit that no version of the format defines,
 * and for version 2, which has no feature bits, the high bit of the version.
 * Every other program refuses the image while it is set.
 */
export const FENCE_BIT = 62;
const FENCE_FEATURE = 1n << BigInt(FENCE_BIT);
const FENCE_VERSION_FLAG = 0x8000_0000;

/** What a rescue could not take as the header says it, in words. */
export interface HeaderRescue {
  /** Offset or length of the refcount table: it reads as one cluster in the place of the header. */
  readonly refcountTable?: string;
  /** Offset of the snapshot table: it reads as 0. */
  readonly snapshotTable?: string;
}

/** A header whose every field was checked; it can only come from `decodeHeader`. */
export interface Header {
  readonly geometry: Geometry;
  readonly headerLength: number;
  readonly fenced: boolean;
  readonly virtualSize: GuestOffset;
  readonly cryptMethod: number;
  readonly l1Size: number;
  readonly l1TableOffset: HostOffset;
  readonly refcountTableOffset: HostOffset;
  readonly refcountTableClusters: number;
  /** At most 65,536; with a rescue it may be anything. */
  readonly snapshotCount: number;
  readonly snapshotsOffset: HostOffset;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  readonly externalDataFile: boolean;
  readonly autoclearFeatures: bigint;
  /** Zero when there is no backing file. Bounds the header extensions. */
  readonly backingFileOffset: number;
  readonly backingFileSize: number;
  /** Undefined for a header that keeps to the format. */
  readonly rescued?: HeaderRescue;
}

const invalid = (what: string): QcowalError =>
  new QcowalError("IMAGE_INVALID", `${what}. Nothing was changed; restore the image from a copy.`);

const repairable = (what: string): QcowalError =>
  new QcowalError("IMAGE_INVALID", `${what}. Nothing was changed; 'qcowal repair' may mend it.`);

const unsupported = (what: string): QcowalError =>
  new QcowalError("IMAGE_UNSUPPORTED", `${what}. Nothing was changed.`);

/** Offset of a table as a safe integer that is cluster aligned and whose end stays below 2^53. */
function tableOffset(
  raw: bigint,
  bytes: number,
  clusterSize: number,
  name: string,
  refuse = invalid,
): HostOffset {
  const offset = u64ToNumber(raw);
  if (offset === undefined || offset % clusterSize !== 0 || !Number.isSafeInteger(offset + bytes)) {
    throw refuse(`${name} offset invalid (0x${raw.toString(16)})`);
  }
  return hostOffset(offset);
}

interface VersionFields {
  readonly version: 2 | 3;
  readonly fenced: boolean;
  readonly headerLength: number;
  readonly refcountOrder: number;
  readonly incompatible: bigint;
  readonly autoclear: bigint;
}

function decodeVersion(bytes: Uint8Array): VersionFields {
  if (bytes.length < V2_HEADER_LENGTH || readField(bytes, HEADER.magic) !== QCOW2_MAGIC) {
    throw new QcowalError("IMAGE_NOT_QCOW2", "The file is not a qcow2 image. Nothing was changed.");
  }
  const rawVersion = readField(bytes, HEADER.version);
  if (rawVersion === 2 || rawVersion === 2 + FENCE_VERSION_FLAG) {
    return {
      version: 2,
      fenced: rawVersion !== 2,
      headerLength: V2_HEADER_LENGTH,
      refcountOrder: 4,
      incompatible: 0n,
      autoclear: 0n,
    };
  }
  if (rawVersion !== 3) throw unsupported(`qcow2 version ${rawVersion} is not known`);
  if (bytes.length < V3_HEADER_LENGTH) throw invalid("The file ends inside the qcow2 header");
  const allIncompatible = readField64(bytes, HEADER.incompatibleFeatures);
  return {
    version: 3,
    fenced: (allIncompatible & FENCE_FEATURE) !== 0n,
    headerLength: readField(bytes, HEADER.headerLength),
    refcountOrder: readField(bytes, HEADER.refcountOrder),
    incompatible: allIncompatible & ~FENCE_FEATURE,
    autoclear: readField64(bytes, HEADER.autoclearFeatures),
  };
}

function checkFeatures(bytes: Uint8Array, version: VersionFields): void {
  const unknown = version.incompatible & ~KNOWN_INCOMPATIBLE;
  if (unknown !== 0n) throw unsupported(`Unknown incompatible feature bits 0x${unknown.toString(16)}`);
  const type = version.headerLength > COMPRESSION_TYPE_OFFSET ? (bytes[COMPRESSION_TYPE_OFFSET] ?? 0) : 0;
  const typed = (version.incompatible & INCOMPATIBLE.compressionType) !== 0n;
  // QEMU refuses both mismatches: older readers would take zstd data for zlib.
  if (typed !== (type !== 0)) throw invalid("Compression type field and its feature bit disagree");
  if (type > 1) throw unsupported(`Unknown compression type ${type}`);
}

/**
 * Decodes and validates the header from the first bytes of the file (at least
 * HEADER_PROBE_BYTES where the file has them). Every bound is checked before
 * anything is allocated from a field; limits are QEMU's. With `rescue`, which is
 * for a repair, what can be found out in other ways may be wrong: where the
 * refcount table and the snapshot table are, and how many snapshots there are.
 * @throws QcowalError IMAGE_NOT_QCOW2, IMAGE_INVALID, IMAGE_UNSUPPORTED
 */
export function decodeHeader(bytes: Uint8Array, rescue = false): Header {
  const version = decodeVersion(bytes);
  const clusterBits = readField(bytes, HEADER.clusterBits);
  if (clusterBits < 9 || clusterBits > 21) throw invalid(`Cluster size 2^${clusterBits} is out of range`);
  if (version.headerLength < V3_HEADER_LENGTH && version.version === 3) {
    throw invalid("qcow2 header too short");
  }
  if (version.headerLength > 2 ** clusterBits) throw invalid("qcow2 header exceeds cluster size");
  if (version.refcountOrder > 6) throw invalid(`Refcount width 2^${version.refcountOrder} is out of range`);
  checkFeatures(bytes, version);
  const extendedL2 = (version.incompatible & INCOMPATIBLE.extendedL2) !== 0n;
  if (extendedL2 && clusterBits < 14) throw invalid("Extended L2 entries need clusters of at least 16 KiB");
  const geometry = geometryOf({
    version: version.version,
    clusterBits,
    refcountOrder: version.refcountOrder,
    extendedL2,
  });
  const { clusterSize } = geometry;

  const backingFileOffset = readField64(bytes, HEADER.backingFileOffset);
  const backingFileSize = readField(bytes, HEADER.backingFileSize);
  if (backingFileOffset > BigInt(clusterSize)) throw invalid("Invalid backing file offset");
  if (backingFileOffset !== 0n) {
    const room = clusterSize - Number(backingFileOffset);
    if (backingFileSize > Math.min(MAX_BACKING_NAME_BYTES, room)) throw invalid("Backing file name too long");
    if (Number(backingFileOffset) < version.headerLength) throw invalid("Invalid backing file offset");
  }

  const cryptMethod = readField(bytes, HEADER.cryptMethod);
  if (cryptMethod > CRYPT_LUKS) throw unsupported(`Unknown encryption method ${cryptMethod}`);

  const refcountTable = rescuing(rescue, () => refcountTableOf(bytes, clusterSize));
  const snapshotCount = readField(bytes, HEADER.nbSnapshots);
  if (snapshotCount > MAX_SNAPSHOTS && !rescue) {
    throw repairable(`Snapshot table too large (${snapshotCount} entries)`);
  }
  // Must be aligned even without snapshots: QEMU refuses the image otherwise.
  const snapshotTable = rescuing(rescue, () => ({
    offset: tableOffset(
      readField64(bytes, HEADER.snapshotsOffset),
      0,
      clusterSize,
      "Snapshot table",
      repairable,
    ),
  }));

  const rawSize = readField64(bytes, HEADER.size);
  const virtualSize = u64ToNumber(rawSize);
  if (virtualSize === undefined) throw invalid(`Virtual size ${rawSize} is out of range`);
  const l1Size = readField(bytes, HEADER.l1Size);
  if (l1Size > MAX_L1_ENTRIES) throw invalid(`Active L1 table too large (${l1Size} entries)`);
  if (l1Size < l1EntriesFor(geometry, virtualSize)) throw invalid("L1 table is too small");
  const l1TableOffset = tableOffset(
    readField64(bytes, HEADER.l1TableOffset),
    l1Size * 8,
    clusterSize,
    "Active L1 table",
  );

  return {
    geometry,
    headerLength: version.headerLength,
    fenced: version.fenced,
    virtualSize: guestOffset(virtualSize),
    cryptMethod,
    l1Size,
    l1TableOffset,
    refcountTableOffset: refcountTable.found?.offset ?? hostOffset(0),
    refcountTableClusters: refcountTable.found?.clusters ?? 1,
    snapshotCount,
    snapshotsOffset: snapshotTable.found?.offset ?? hostOffset(0),
    dirty: (version.incompatible & INCOMPATIBLE.dirty) !== 0n,
    corrupt: (version.incompatible & INCOMPATIBLE.corrupt) !== 0n,
    externalDataFile: (version.incompatible & INCOMPATIBLE.externalDataFile) !== 0n,
    autoclearFeatures: version.autoclear,
    backingFileOffset: Number(backingFileOffset),
    backingFileSize,
    ...rescuedOf(refcountTable.problem, snapshotTable.problem),
  };
}

/** What `read` returns, or with `rescue` why it cannot. */
function rescuing<Result>(
  rescue: boolean,
  read: () => Result,
): { readonly found?: Result; readonly problem?: string } {
  try {
    return { found: read() };
  } catch (error) {
    if (!rescue || !isQcowalError(error, "IMAGE_INVALID")) throw error;
    return { problem: error.message.replace(/\. Nothing was changed.*$/s, "") };
  }
}

function rescuedOf(
  refcountTable: string | undefined,
  snapshotTable: string | undefined,
): { readonly rescued?: HeaderRescue } {
  if ((refcountTable ?? snapshotTable) === undefined) return {};
  return {
    rescued: {
      ...(refcountTable === undefined ? {} : { refcountTable }),
      ...(snapshotTable === undefined ? {} : { snapshotTable }),
    },
  };
}

function refcountTableOf(
  bytes: Uint8Array,
  clusterSize: number,
): { readonly offset: HostOffset; readonly clusters: number } {
  const clusters = readField(bytes, HEADER.refcountTableClusters);
  if (clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) throw repairable("Reference count table too large");
  if (clusters === 0) throw repairable("Image does not contain a reference count table");
  const raw = readField64(bytes, HEADER.refcountTableOffset);
  return {
    offset: tableOffset(raw, clusters * clusterSize, clusterSize, "Reference count table", repairable),
    clusters,
  };
}

/** Where the fence's mark is: one byte of the first sector, and the bit in it. */
export function fenceMark(version: 2 | 3): { readonly offset: number; readonly mask: number } {
  return version === 2
    ? { offset: HEADER.version.offset, mask: 0x80 }
    : { offset: HEADER.incompatibleFeatures.offset, mask: 2 ** (FENCE_BIT - 56) };
}
