import { FileBytes } from "./file.ts";
import { NaiveError, parseHeader } from "./header.ts";
import type { NaiveHeader, NaiveOptions } from "./header.ts";
import { readL1Entry, readL2Entry } from "./mapping.ts";
import type { L2Entry } from "./mapping.ts";
import { StoredRefcounts } from "./refcounts.ts";
import { parseSnapshots } from "./snapshots.ts";

export interface Problem {
  readonly message: string;
  /** Host offset that it is about. */
  readonly offset: number;
}

export interface CheckReport {
  /** Refcount higher than what refers to the cluster. */
  readonly leaks: readonly Problem[];
  /** Refcount too low, pointers out of place, reserved bits; as `qemu-img check` counts them, COPIED flags aside. */
  readonly corruptions: readonly Problem[];
  /** COPIED flags of the active tree that disagree with the refcount. `qemu-img check` counts them as corruptions. */
  readonly copied: readonly Problem[];
  /**
   * COPIED flags on clusters to which several paths lead: a guest would write to them in place. Those whose
   * refcount is too low are not among `copied`.
   */
  readonly unsafe: readonly Problem[];
  /** Structures that share a cluster although they never may; `qemu-img check` does not look for them. */
  readonly overlaps: readonly Problem[];
  /** Refcounts of clusters beyond the end of the file; `qemu-img check` does not look at them. */
  readonly beyondEnd: readonly Problem[];
  /** Legal but odd: duplicate snapshot ids. */
  readonly notes: readonly string[];
  readonly clean: boolean;
}

type Owner = "header" | "table" | "data" | "compressed";

class Checker {
  readonly leaks: Problem[] = [];
  readonly corruptions: Problem[] = [];
  readonly copied: Problem[] = [];
  readonly unsafe: Problem[] = [];
  readonly overlaps: Problem[] = [];
  readonly beyondEnd: Problem[] = [];
  readonly notes: string[] = [];

  readonly #file: FileBytes;
  readonly #header: NaiveHeader;
  readonly #stored: StoredRefcounts;
  readonly #clusters: number;
  readonly #references: Float64Array;
  readonly #owners = new Map<number, { owner: Owner; label: string }>();

  constructor(file: FileBytes, header: NaiveHeader) {
    this.#file = file;
    this.#header = header;
    this.#stored = new StoredRefcounts(file, header);
    this.#clusters = Math.ceil(file.bytes.length / header.clusterSize);
    // One more: the last structure may hang over the end by less than a cluster.
    this.#references = new Float64Array(this.#clusters + 2);
  }

  run(): void {
    const { l1Offset, l1Size, clusterSize, l2Entries, virtualSize } = this.#header;
    if (this.#pointersAreInsane()) return;
    this.#count(0, clusterSize, "header", "header");
    if (l1Size < Math.ceil(virtualSize / (clusterSize * l2Entries))) {
      this.#corrupt(l1Offset, "the active L1 table is too small for the disk");
    }
    this.#root(l1Offset, l1Size, "active");
    this.#snapshots();
    this.#count(
      this.#header.refcountTableOffset,
      this.#header.refcountTableClusters * clusterSize,
      "table",
      "refcount table",
    );
    this.#cryptoHeader();
    this.#bitmaps();
    this.#refcountBlocks();
    this.#compare();
    this.#checkCopied();
  }

  #corrupt(offset: number, message: string): void {
    this.corruptions.push({ offset, message });
  }

  #aligned(offset: number): boolean {
    return offset % this.#header.clusterSize === 0;
  }

  /** What makes QEMU refuse to open; counting would only add noise. */
  #pointersAreInsane(): boolean {
    const { refcountTableOffset, refcountTableClusters, l1Offset, l1Size, snapshotsOffset, clusterSize } =
      this.#header;
    const before = this.corruptions.length;
    if (!this.#aligned(refcountTableOffset) || refcountTableOffset === 0) {
      this.#corrupt(refcountTableOffset, "refcount table offset invalid");
    }
    if (refcountTableClusters === 0 || refcountTableClusters * clusterSize > 8 * 1024 * 1024) {
      this.#corrupt(refcountTableOffset, "refcount table size invalid");
    }
    if (!this.#aligned(l1Offset) || l1Size * 8 > 32 * 1024 * 1024) {
      this.#corrupt(l1Offset, "active L1 table invalid");
    }
    if (!this.#aligned(snapshotsOffset)) this.#corrupt(snapshotsOffset, "snapshot table offset invalid");
    return this.corruptions.length > before;
  }

  /** One reference to every cluster that the region touches. */
  #count(offset: number, size: number, owner: Owner, label: string): void {
    if (size === 0) return;
    const { clusterSize } = this.#header;
    const fileEnd = Math.ceil(this.#file.bytes.length / 512) * 512;
    if (offset + size - fileEnd >= clusterSize) {
      this.#corrupt(offset, `${label} exceeds the end of the file by a cluster or more`);
      return;
    }
    const last = Math.floor((offset + size - 1) / clusterSize);
    for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
      this.#references[cluster] = (this.#references[cluster] ?? 0) + 1;
      this.#claim(cluster, owner, label);
    }
  }

  /** Data may be shared by paths and compressed streams by neighbours; any other structure is alone in its cluster. */
  #claim(cluster: number, owner: Owner, label: string): void {
    const other = this.#owners.get(cluster);
    if (other === undefined) {
      this.#owners.set(cluster, { owner, label });
      return;
    }
    const sameL2 = owner === "table" && label === other.label && label.startsWith("L2 table");
    const shareable = owner === other.owner && (owner === "data" || owner === "compressed");
    if (!sameL2 && !shareable) {
      const message = `${label} overlaps ${other.label}`;
      this.overlaps.push({ offset: cluster * this.#header.clusterSize, message });
    }
  }

  #root(l1Offset: number, l1Size: number, name: string): void {
    const { clusterSize, l2Entries } = this.#header;
    this.#count(l1Offset, l1Size * 8, "table", `L1 table of ${name}`);
    for (let slot = 0; slot < l1Size; slot++) {
      const { offset, reserved } = readL1Entry(this.#file, l1Offset, slot);
      if (reserved !== 0n) this.#corrupt(l1Offset + slot * 8, `reserved bits in L1 entry ${slot} of ${name}`);
      if (offset === 0) continue;
      this.#count(offset, clusterSize, "table", `L2 table of L1 index ${slot}`);
      if (!this.#aligned(offset))
        this.#corrupt(offset, `L2 table of L1 entry ${slot} of ${name} is unaligned`);
      for (let index = 0; index < l2Entries; index++) {
        this.#l2Entry(
          offset + index * this.#header.l2EntrySize,
          readL2Entry(this.#file, this.#header, offset, index),
        );
      }
    }
  }

  #l2Entry(at: number, { cell, copied, reserved, bitmap }: L2Entry): void {
    const { clusterSize } = this.#header;
    if (reserved !== 0n) this.#corrupt(at, "reserved bits in an L2 entry");
    if (cell.kind === "compressed") {
      if (copied) this.#corrupt(at, "COPIED flag on a compressed cluster");
      if (bitmap !== 0n) this.#corrupt(at, "subcluster bitmap of a compressed cluster");
      const start = Math.floor(cell.offset / 512) * 512;
      const end = Math.ceil((cell.offset + cell.length) / 512) * 512;
      this.#count(start, end - start, "compressed", "compressed data");
      return;
    }
    const allocated = bitmap & 0xffff_ffffn;
    if ((allocated & (bitmap >> 32n)) !== 0n) this.#corrupt(at, "a subcluster is both allocated and zero");
    if (cell.kind === "host") {
      if (!this.#aligned(cell.offset)) this.#corrupt(at, "an L2 entry points to an unaligned cluster");
      this.#count(cell.offset, clusterSize, "data", "data");
    } else if (allocated !== 0n) this.#corrupt(at, "allocated subclusters without a host cluster");
  }

  #snapshots(): void {
    try {
      const { snapshots, size } = parseSnapshots(this.#file, this.#header);
      for (const { position, l1Offset, l1Size, extraSize } of snapshots) {
        if (this.#header.version === 3 && extraSize < 16) {
          this.#corrupt(this.#header.snapshotsOffset, `snapshot table entry ${position} is incomplete`);
        }
        // QEMU skips such a snapshot, so that its clusters look leaked.
        if (!this.#aligned(l1Offset))
          this.#corrupt(l1Offset, `L1 table of snapshot ${position} is unaligned`);
        else if (l1Size * 8 > 32 * 1024 * 1024)
          this.#corrupt(l1Offset, `L1 table of snapshot ${position} is too large`);
        else this.#root(l1Offset, l1Size, `snapshot ${position}`);
      }
      this.#count(this.#header.snapshotsOffset, size, "table", "snapshot table");
      const ids = snapshots.map(({ id }) => id);
      const repeated = ids.filter((id, i) => ids.indexOf(id) !== i);
      for (const id of new Set(repeated))
        this.notes.push(`several snapshots have the id ${JSON.stringify(id)}`);
    } catch (error) {
      if (!(error instanceof NaiveError)) throw error;
      this.#corrupt(this.#header.snapshotsOffset, error.message);
    }
  }

  #cryptoHeader(): void {
    const extension = this.#header.extensions.find(({ type }) => type === 0x0537be77);
    if (extension === undefined) return;
    const offset = this.#file.number64(extension.offset);
    this.#count(offset, this.#file.number64(extension.offset + 8), "table", "encryption header");
  }

  /** Bitmaps count only while the autoclear bit vouches for them. */
  #bitmaps(): void {
    const extension = this.#header.extensions.find(({ type }) => type === 0x23852875);
    if (extension === undefined || (this.#header.autoclear & 1n) === 0n) return;
    const file = this.#file;
    const count = file.u32(extension.offset);
    const directory = file.number64(extension.offset + 16);
    this.#count(directory, file.number64(extension.offset + 8), "table", "bitmap directory");
    for (let i = 0, at = directory; i < count; i++) {
      const tableOffset = file.number64(at);
      const entries = file.u32(at + 8);
      this.#count(tableOffset, entries * 8, "table", `table of bitmap ${i}`);
      for (let entry = 0; entry < entries; entry++) {
        const offset = Number(file.u64(tableOffset + entry * 8) & 0x00ff_ffff_ffff_fe00n);
        if (offset !== 0) this.#count(offset, this.#header.clusterSize, "table", `data of bitmap ${i}`);
      }
      at += Math.ceil((24 + file.u16(at + 18) + file.u32(at + 20)) / 8) * 8;
    }
  }

  #refcountBlocks(): void {
    const { clusterSize } = this.#header;
    for (let index = 0; index < this.#stored.tableEntries; index++) {
      const { offset, reserved } = this.#stored.tableEntry(index);
      if (reserved !== 0n) this.#corrupt(offset, `reserved bits in refcount table entry ${index}`);
      if (offset === 0) continue;
      if (!this.#aligned(offset)) {
        this.#corrupt(offset, `refcount block ${index} is unaligned`);
        continue;
      }
      this.#count(offset, clusterSize, "table", `refcount block ${index}`);
      const references = this.#references[offset / clusterSize] ?? 0;
      if (references !== 1)
        this.#corrupt(offset, `refcount block ${index} has ${references} references, not 1`);
    }
  }

  #compare(): void {
    const { clusterSize } = this.#header;
    for (let cluster = 0; cluster < this.#clusters; cluster++) {
      const stored = this.#stored.get(cluster);
      const references = this.#references[cluster] ?? 0;
      const message = `cluster ${cluster}: refcount ${stored}, references ${references}`;
      if (stored > references) this.leaks.push({ offset: cluster * clusterSize, message });
      if (stored < references) this.#corrupt(cluster * clusterSize, message);
    }
    const { perBlock } = this.#stored;
    for (let index = 0; index < this.#stored.tableEntries; index++) {
      const { offset } = this.#stored.tableEntry(index);
      if (offset === 0 || (index + 1) * perBlock <= this.#clusters) continue;
      for (let entry = Math.max(0, this.#clusters - index * perBlock); entry < perBlock; entry++) {
        const stored = this.#stored.inBlock(offset, entry);
        const cluster = index * perBlock + entry;
        // The last sector of a compressed stream may lie there.
        if (stored <= (this.#references[cluster] ?? 0)) continue;
        const message = `cluster ${cluster} beyond the end of the file: refcount ${stored}`;
        this.beyondEnd.push({ offset: cluster * clusterSize, message });
      }
    }
  }

  #checkCopied(): void {
    const { l1Offset, l1Size, l2Entries, l2EntrySize, clusterSize } = this.#header;
    const expectCopied = (offset: number): boolean =>
      this.#stored.get(Math.floor(offset / clusterSize)) === 1;
    for (let slot = 0; slot < l1Size; slot++) {
      const l1 = readL1Entry(this.#file, l1Offset, slot);
      if (l1.offset === 0) {
        if (l1.copied)
          this.copied.push({ offset: l1Offset + slot * 8, message: `COPIED on empty L1 entry ${slot}` });
        continue;
      }
      this.#checkSafe(l1Offset + slot * 8, l1.copied, l1.offset);
      if (l1.copied !== expectCopied(l1.offset)) {
        const message = `L1 entry ${slot}: COPIED is ${l1.copied}, refcount ${this.#stored.get(l1.offset / clusterSize)}`;
        this.copied.push({ offset: l1Offset + slot * 8, message });
      }
      for (let index = 0; index < l2Entries; index++) {
        const { cell, copied } = readL2Entry(this.#file, this.#header, l1.offset, index);
        if (cell.kind === "compressed") continue; // counted with the entries of every root
        const expected = cell.kind === "host" && expectCopied(cell.offset);
        if (cell.kind === "host") this.#checkSafe(l1.offset + index * l2EntrySize, copied, cell.offset);
        if (copied === expected) continue;
        const message = `L2 entry ${index} of L1 index ${slot}: COPIED is ${copied}`;
        this.copied.push({ offset: l1.offset + index * l2EntrySize, message });
      }
    }
  }

  #checkSafe(at: number, copied: boolean, offset: number): void {
    const references = this.#references[Math.floor(offset / this.#header.clusterSize)] ?? 0;
    if (copied && references > 1)
      this.unsafe.push({ offset: at, message: `COPIED, and ${references} references` });
  }
}

/** Checks the whole image by the accounting rules of `qemu-img check`, and a little more strictly. */
export function checkImage(bytes: Uint8Array, options: NaiveOptions = {}): CheckReport {
  const file = new FileBytes(bytes);
  const checker = new Checker(file, parseHeader(file, options));
  checker.run();
  const { leaks, corruptions, copied, unsafe, overlaps, beyondEnd, notes } = checker;
  const found = [leaks, corruptions, copied, overlaps, beyondEnd];
  return {
    leaks,
    corruptions,
    copied,
    unsafe,
    overlaps,
    beyondEnd,
    notes,
    clean: found.every((list) => list.length === 0),
  };
}

/** The report in words, for a failure message. */
export function describeCheck(report: CheckReport): string {
  const lines = (["leaks", "corruptions", "copied", "overlaps", "beyondEnd"] as const).flatMap((kind) =>
    report[kind].slice(0, 10).map(({ offset, message }) => `${kind} at 0x${offset.toString(16)}: ${message}`),
  );
  return lines.length === 0 ? "clean" : lines.join("\n");
}
