import {
  type EngineContext,
  type Environment,
  type InternalRunOptions,
  type OperationsByImage,
  currentActor,
  groupByImage,
  recoverPending,
  repairByScan,
  runTransaction,
  topicsOf,
} from "../../src/engine/index.ts";
import { openJournalOn } from "../../journal/index.ts";
import { QcowalError, isQcowalError } from "../../src/errors/index.ts";
import { type HistoryEntry, timeline } from "../../src/history/index.ts";
import type { JournaledOperation, Operation } from "../../src/plan/index.ts";
import { all } from "./all.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { type EventType, Machine, MachineDisk } from "./machine.ts";
import { type Batch, SimulatedStore, type UnsyncedStore } from "./simulated-store.ts";
import type { UnsyncedFile } from "./unsynced.ts";

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

/** Files and a journal between two processes. */
export interface World {
  readonly images: ReadonlyMap<string, MemoryDisk>;
  /** Puts of the journal's store, all durable: opening it makes them so. */
  readonly journal: readonly Batch[];
}

/** A process between two events: what a power cut would find. */
export interface Moment {
  /** How many events have taken effect. */
  readonly event: number;
  readonly next: EventType | "end";
  readonly files: ReadonlyMap<string, UnsyncedFile>;
  readonly journal: UnsyncedStore;
}

/** Shows the moment if it is asked to. */
export type Observer = (type: EventType | "end", moment: () => Moment) => void;

export interface Process {
  readonly machine: Machine;
  /** What it ended with, if it was not killed and did not succeed. */
  readonly failure: unknown;
  /** What it left. */
  readonly world: World;
}

export function newWorld(images: Readonly<Record<string, Uint8Array>>): World {
  const files = Object.entries(images).map(
    ([path, bytes]) => [path, new MemoryDisk(bytes, { path })] as const,
  );
  return { images: new Map(files), journal: [] };
}

/** Runs one process on a copy of the world until it ends, fails or is killed. */
export async function live(
  world: World,
  machine: Machine,
  action: (context: EngineContext) => Promise<unknown>,
  observe: Observer = () => undefined,
): Promise<Process> {
  let failure: unknown;
  const images = new Map([...world.images].map(([path, file]) => [path, file.reopen()]));
  const store = new SimulatedStore(world.journal, machine);
  const moment = (next: EventType | "end"): Moment => momentOf(machine, images, store.unsynced(), next);
  machine.onEvent = (type) => observe(type, () => moment(type));
  const environment = environmentOf(machine, images);
  try {
    const dir = "/memory/journal";
    const journal = await openJournalOn(store, { dir, create: true, now: () => NOW, topicsOf });
    if (journal !== undefined) await action({ journal, environment });
  } catch (error) {
    // Whatever a dead process still throws, nobody hears it.
    if (!machine.dead) failure = error;
  }
  if (!machine.dead) observe("end", () => moment("end"));
  return { machine, failure, world: { images, journal: store.log } };
}

function momentOf(
  machine: Machine,
  images: ReadonlyMap<string, MemoryDisk>,
  journal: UnsyncedStore,
  next: EventType | "end",
): Moment {
  const files = new Map([...images].map(([path, file]) => [path, file.unsynced()]));
  return { event: machine.events, next, files, journal };
}

function environmentOf(machine: Machine, images: ReadonlyMap<string, MemoryDisk>): Environment {
  return {
    openDisk: async (path) => Promise.resolve(new MachineDisk(machine, fileAt(images, path))),
    resolvePath: async (path) => Promise.resolve(fileAt(images, path).path),
    fileId: async (path) => Promise.resolve({ device: 1, inode: [...images.keys()].indexOf(path) }),
    now: () => NOW,
    program: "test",
  };
}

function fileAt(images: ReadonlyMap<string, MemoryDisk>, path: string): MemoryDisk {
  const file = images.get(path);
  if (file === undefined) throw new QcowalError("IMAGE_NOT_FOUND", `${path}: no such image.`);
  return file;
}

/** Runs a transaction in a process with these faults; a failure is part of what it returns. */
export function attempt(
  world: World,
  operations: readonly JournaledOperation[],
  machine: Machine,
  options: InternalRunOptions = {},
  observe?: Observer,
): Promise<Process> {
  const action = async (context: EngineContext): Promise<unknown> =>
    runTransaction(context, await grouped(context.environment, operations), options);
  return live(world, machine, action, observe);
}

/** A receive is asked of one image, beside other operations on it. */
async function grouped(
  environment: Environment,
  operations: readonly JournaledOperation[],
): Promise<OperationsByImage> {
  const asked = operations.filter((operation): operation is Operation => operation.type !== "receive");
  const [received] = operations.filter(({ type }) => type === "receive");
  return received === undefined ? groupByImage(environment, asked) : new Map([[received.image, operations]]);
}

/** The same, where nothing may fail. */
export async function operate(
  world: World,
  operations: readonly Operation[],
  stopAt?: number,
): Promise<Process> {
  return succeeded(await attempt(world, operations, new Machine(stopAt)));
}

/** Recovers everything in a process with these faults; a failure is part of what it returns. */
export function attemptRecovery(world: World, machine: Machine, observe?: Observer): Promise<Process> {
  const action = async (context: EngineContext): Promise<void> => {
    const actor = currentActor("test", undefined);
    const { failed } = await recoverPending(context, [...world.images.keys()], { actor });
    const [first] = failed;
    if (first !== undefined) throw first.error;
  };
  return live(world, machine, action, observe);
}

export async function recoverWorld(world: World, stopAt?: number, observe?: Observer): Promise<Process> {
  return succeeded(await attemptRecovery(world, new Machine(stopAt), observe));
}

/** Repairs every fenced image by a scan, in a process that has no journal. Those that are not fenced refuse and stay. */
export async function repairWorld(world: World, stopAt?: number, observe?: Observer): Promise<Process> {
  const machine = new Machine(stopAt);
  const images = new Map([...world.images].map(([path, file]) => [path, file.reopen()]));
  const moment = (next: EventType | "end"): Moment =>
    momentOf(machine, images, { durable: [], pending: [] }, next);
  if (observe !== undefined) machine.onEvent = (type) => observe(type, () => moment(type));
  const environment = environmentOf(machine, images);
  let failure: unknown;
  for (const path of images.keys()) {
    try {
      await repairByScan(environment, path, { actor: currentActor("test", undefined) });
    } catch (error) {
      if (machine.dead) break;
      if (!isQcowalError(error, "NOTHING_TO_REPAIR")) failure ??= error;
    }
  }
  return succeeded({ machine, failure, world: { images, journal: [] } });
}

function succeeded(process: Process): Process {
  if (process.failure !== undefined) throw process.failure;
  return process;
}

/** What the record says, oldest first. */
export async function historyOf(world: World): Promise<HistoryEntry[]> {
  const journal = await openJournalOn(new SimulatedStore(world.journal), {
    dir: "/memory/journal",
    create: false,
  });
  return journal === undefined ? [] : all(timeline(journal));
}
