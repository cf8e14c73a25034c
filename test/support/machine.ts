import type { Disk } from "../../src/disk/index.ts";
import { QcowalError, isQcowalError } from "../../src/errors/index.ts";
import { Killed, type MemoryDisk } from "./memory-disk.ts";

/** An event of the process that fails, without effect, or a read: those are counted apart. */
export type Fault =
  | { readonly event: number; readonly code: "NO_SPACE" | "IO_FAILED" }
  | { readonly read: number; readonly code: "IO_FAILED" };

export type EventType = "write" | "sync" | "truncate" | "discard" | "put" | "synced put";

/**
 * One process that is killed as a whole: every mutating event of all its disks
 * and of its journal is counted in one sequence, and after `stopAt` nothing of
 * it does anything any more.
 */
export class Machine {
  readonly #stopAt: number | undefined;
  readonly #faults: readonly Fault[];
  /** Hears of each event before it takes effect. */
  onEvent: (type: EventType) => void = () => undefined;
  #events = 0;
  #reads = 0;
  #dead = false;

  constructor(stopAt?: number, faults: readonly Fault[] = []) {
    this.#stopAt = stopAt;
    this.#faults = faults;
  }

  get events(): number {
    return this.#events;
  }

  /** Reads of disks and journal so far, the failed ones included. */
  get reads(): number {
    return this.#reads;
  }

  get dead(): boolean {
    return this.#dead;
  }

  assertAlive(): void {
    if (this.#dead) throw new Killed("the process is dead");
  }

  /** Called before an event takes effect. */
  event(type: EventType): void {
    this.assertAlive();
    this.onEvent(type);
    if (++this.#events === this.#stopAt) {
      this.#dead = true;
      throw new Killed(`killed at event ${this.#events}`);
    }
    const fault = this.#faults.find((candidate) => "event" in candidate && candidate.event === this.#events);
    if (fault !== undefined) throw new QcowalError(fault.code, `simulated: event ${this.#events} failed`);
  }

  /** Called before a read. */
  read(): void {
    this.assertAlive();
    const read = ++this.#reads;
    const fault = this.#faults.find((candidate) => "read" in candidate && candidate.read === read);
    if (fault !== undefined) throw new QcowalError(fault.code, `simulated: read ${read} failed`);
  }
}

/** A file as an open descriptor of one process. */
export class MachineDisk implements Disk {
  readonly path: string;
  readonly canGrow = true;
  readonly #machine: Machine;
  readonly #file: MemoryDisk;
  #isBroken = false;

  constructor(machine: Machine, file: MemoryDisk) {
    this.#machine = machine;
    this.#file = file;
    this.path = file.path;
  }

  async size(): Promise<number> {
    this.#machine.assertAlive();
    return this.#file.size();
  }

  async read(offset: number, target: Uint8Array): Promise<number> {
    this.#machine.read();
    return this.#file.read(offset, target);
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    await this.#event("write");
    return this.#file.write(offset, data);
  }

  async sync(): Promise<void> {
    await this.#event("sync");
    return this.#file.sync();
  }

  async truncate(size: number): Promise<void> {
    await this.#event("truncate");
    return this.#file.truncate(size);
  }

  /** Advisory: its failure is nobody's business. */
  async discard(offset: number, length: number): Promise<void> {
    try {
      this.#machine.event("discard");
    } catch (error) {
      if (isQcowalError(error)) return;
      throw error;
    }
    return this.#file.discard(offset, length);
  }

  /** The file itself outlives the process. */
  async close(): Promise<void> {}

  /** After a failed sync, and after any failure but a full disk, nobody knows what is on it. */
  async #event(type: EventType): Promise<void> {
    if (this.#isBroken)
      throw new QcowalError("IO_FAILED_EARLIER", "simulated: an earlier write or sync failed");
    try {
      this.#machine.event(type);
    } catch (error) {
      this.#isBroken = type === "sync" || isQcowalError(error, "IO_FAILED");
      throw error;
    }
    return Promise.resolve();
  }
}
