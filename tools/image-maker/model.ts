import { compress, noise } from "./content.ts";
import type { ChangeSpec, ImageSpec, RootSpec, SnapshotSpec } from "./spec.ts";

/** Contiguous host clusters with one purpose; `first` is known once they are placed. */
export interface Run {
  readonly clusters: number;
  first: number;
  /** Guest bytes and compressed streams; tables are rendered later, from the model. */
  readonly content: (() => Uint8Array) | null;
}

export type Entry =
  | { readonly kind: "host"; readonly run: Run; readonly zero: boolean; readonly bitmap: bigint }
  | { readonly kind: "plain-zero" }
  | { readonly kind: "compressed"; readonly run: Run; readonly start: number; readonly sectors: number };

export interface Table {
  readonly run: Run;
  readonly entries: Map<number, Entry>;
}

export interface Root {
  readonly diskSize: number;
  readonly l1: Run;
  readonly l1Size: number;
  /** First L1 index of the VM state area. */
  readonly vmSlot: number;
  readonly slots: Map<number, Table>;
}

export interface SnapshotRoot extends Root {
  readonly spec: SnapshotSpec;
  readonly vmStateSize: number;
}

export interface Model {
  readonly clusterSize: number;
  readonly l2Entries: number;
  readonly snapshots: readonly SnapshotRoot[];
  readonly active: Root;
  /** Everything that needs clusters, in the order of its making; refcount structures and header not included. */
  readonly runs: Run[];
}

export function newRun(runs: Run[], clusters: number, content: Run["content"] = null): Run {
  const run: Run = { clusters, first: -1, content };
  runs.push(run);
  return run;
}

/** Packs the compressed streams of one root back to back, as QEMU does. */
class StreamPacker {
  readonly #spec: ImageSpec;
  readonly #clusterSize: number;
  #pending: { start: number; stream: Uint8Array; patch: (run: Run) => void }[] = [];
  #cursor = 0;
  readonly #runs: Run[];

  constructor(spec: ImageSpec, runs: Run[]) {
    this.#spec = spec;
    this.#clusterSize = 2 ** spec.clusterBits;
    this.#runs = runs;
  }

  add(change: ChangeSpec, seed: number): Entry {
    const size = this.#clusterSize;
    const stream = compress(this.#spec.compression ?? "zlib", seed, size);
    const before = change.span === 3 ? 512 : 7;
    if (change.span !== undefined) this.#cursor += (2 * size - before - (this.#cursor % size)) % size;
    const start = this.#cursor;
    const needed = Math.ceil(((start % 512) + stream.length) / 512);
    const sectors = change.span === 3 ? size / 512 + 2 : needed;
    if (sectors > (2 * size) / 512)
      throw new RangeError("a compressed stream is too long for its descriptor");
    const entry: Entry = {
      kind: "compressed",
      run: { clusters: 0, first: -1, content: null },
      start,
      sectors,
    };
    this.#pending.push({ start, stream, patch: (run) => Object.assign(entry, { run }) });
    // With a span of 3 the descriptor claims more sectors than the stream has, so nothing may start before their end.
    this.#cursor = change.span === 3 ? (Math.floor(start / 512) + sectors) * 512 : start + stream.length;
    if (this.#spec.placement?.separateCompressed === true) this.flush();
    return entry;
  }

  flush(): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    const clusters = Math.ceil(this.#cursor / this.#clusterSize);
    const run = newRun(this.#runs, clusters, () => {
      const bytes = new Uint8Array(clusters * this.#clusterSize);
      for (const { start, stream } of pending) bytes.set(stream, start);
      return bytes;
    });
    for (const { patch } of pending) patch(run);
    this.#pending = [];
    this.#cursor = 0;
  }
}

const ALL_ALLOCATED = 0xffff_ffffn;

export class ModelBuilder {
  readonly #spec: ImageSpec;
  readonly #clusterSize: number;
  readonly #l2Entries: number;
  readonly #runs: Run[] = [];
  readonly #packer: StreamPacker;

  constructor(spec: ImageSpec) {
    this.#spec = spec;
    this.#clusterSize = 2 ** spec.clusterBits;
    this.#l2Entries = this.#clusterSize / (spec.extendedL2 === true ? 16 : 8);
    this.#packer = new StreamPacker(spec, this.#runs);
  }

  build(): Model {
    const snapshots: SnapshotRoot[] = [];
    for (const spec of this.#spec.snapshots ?? []) {
      const parent = pickParent(snapshots, spec);
      const root = this.#root(spec, parent, spec.diskSize ?? this.#spec.virtualSize);
      const reach = Math.max(0, ...(spec.vmState ?? []).map(({ at, count = 1 }) => at + count));
      snapshots.push({ ...root, spec, vmStateSize: spec.vmStateSize ?? reach * this.#clusterSize });
    }
    const activeSpec = this.#spec.active ?? {};
    const active = this.#root(activeSpec, pickParent(snapshots, activeSpec), this.#spec.virtualSize);
    return {
      clusterSize: this.#clusterSize,
      l2Entries: this.#l2Entries,
      snapshots,
      active,
      runs: this.#runs,
    };
  }

  #root(spec: RootSpec, parent: Root | undefined, diskSize: number): Root {
    const span = this.#clusterSize * this.#l2Entries;
    const vmSlot = Math.ceil(diskSize / span);
    const guestClusters = Math.ceil(diskSize / this.#clusterSize);
    const slots = new Map<number, Table>();
    for (const [slot, table] of parent?.slots ?? []) {
      const isVmState = parent !== undefined && slot >= parent.vmSlot;
      if (isVmState ? spec.keepVmState === true && slot >= vmSlot : slot < vmSlot) slots.set(slot, table);
    }
    const own = new Set<number>();
    const table = (slot: number): Table => {
      const known = slots.get(slot);
      if (known !== undefined && own.has(slot)) return known;
      const copy: Table = { run: newRun(this.#runs, 1), entries: new Map(known?.entries) };
      slots.set(slot, copy);
      own.add(slot);
      return copy;
    };
    // Shrinking takes the mapping beyond the new end away.
    for (const [slot, { entries }] of slots) {
      const beyond = [...entries.keys()].filter((index) => slot * this.#l2Entries + index >= guestClusters);
      if (slot < vmSlot && beyond.length > 0) for (const index of beyond) table(slot).entries.delete(index);
    }
    const apply = (change: ChangeSpec, base: number, limit: number): void => {
      for (let i = 0; i < (change.count ?? 1); i++) {
        const cluster = base + change.at + i;
        if (cluster >= limit) throw new RangeError(`guest cluster ${cluster} lies beyond the end`);
        const { entries } = table(Math.floor(cluster / this.#l2Entries));
        const entry = this.#entry(change, change.seed === undefined ? cluster : change.seed + i, (of) =>
          slots.get(Math.floor((base + of) / this.#l2Entries))?.entries.get((base + of) % this.#l2Entries),
        );
        if (entry === null) entries.delete(cluster % this.#l2Entries);
        else entries.set(cluster % this.#l2Entries, entry);
      }
    };
    for (const change of spec.changes ?? []) apply(change, 0, guestClusters);
    for (const change of spec.vmState ?? []) apply(change, vmSlot * this.#l2Entries, Infinity);
    this.#packer.flush();
    const used = Math.max(-1, ...slots.keys()) + 1;
    const l1Size = spec.l1Size ?? Math.max(vmSlot, used);
    if (l1Size < used) throw new RangeError("the L1 table is too small for what it maps");
    return {
      diskSize,
      l1: newRun(this.#runs, Math.ceil((l1Size * 8) / this.#clusterSize)),
      l1Size,
      vmSlot,
      slots,
    };
  }

  #entry(change: ChangeSpec, seed: number, lookUp: (of: number) => Entry | undefined): Entry | null {
    const extended = this.#spec.extendedL2 === true;
    const host = (zero: boolean, bitmap: bigint): Entry => ({
      kind: "host",
      run: newRun(this.#runs, 1, () => noise(seed, this.#clusterSize)),
      zero,
      bitmap,
    });
    switch (change.kind) {
      case "none":
        return null;
      case "data":
        return host(false, ALL_ALLOCATED);
      case "zero":
        return { kind: "plain-zero" };
      case "zero-allocated":
        return host(true, ALL_ALLOCATED << 32n);
      case "compressed":
        return this.#packer.add(change, seed);
      case "alias": {
        const entry = lookUp(change.of ?? 0);
        if (entry?.kind !== "host") throw new RangeError("an alias needs a data cluster");
        return entry;
      }
      case "subclusters": {
        if (!extended) throw new RangeError("subclusters need extended L2 entries");
        const [allocated, zero] = [change.allocatedMask ?? 0, change.zeroMask ?? 0].map((m) =>
          BigInt(m >>> 0),
        );
        return host(false, (allocated ?? 0n) | ((zero ?? 0n) << 32n));
      }
    }
  }
}

function pickParent(snapshots: readonly Root[], spec: RootSpec): Root | undefined {
  return spec.from === null ? undefined : snapshots[spec.from ?? snapshots.length - 1];
}

/** Maps one more unused guest cluster of the active layer. */
export function addFiller(model: Model, from: number): number {
  const guestClusters = Math.ceil(model.active.diskSize / model.clusterSize);
  const shared = new Set(model.snapshots.flatMap(({ slots }) => [...slots.values()]));
  for (let cluster = from; cluster < guestClusters; cluster++) {
    const slot = Math.floor(cluster / model.l2Entries);
    const index = cluster % model.l2Entries;
    let table = model.active.slots.get(slot);
    if (table?.entries.has(index) === true) continue;
    if (table === undefined || shared.has(table)) {
      table = { run: newRun(model.runs, 1), entries: new Map(table?.entries) };
      model.active.slots.set(slot, table);
    }
    const content = (): Uint8Array => noise(cluster, model.clusterSize);
    const run = newRun(model.runs, 1, content);
    table.entries.set(index, { kind: "host", run, zero: false, bitmap: ALL_ALLOCATED });
    return cluster + 1;
  }
  throw new RangeError("the disk is too small to fill the refcount structures");
}
