import type { Disk } from "../../../src/disk/index.ts";
import { Killed, MemoryDisk } from "../../support/memory-disk.ts";

/**
 * One process that is killed as a whole: every mutating event of all its disks
 * and of its journal is counted in one sequence, and after `stopAt` nothing of
 * it does anything any more.
 */
export class Machine {
  readonly #stopAt: number | undefined;
  #events = 0;
  #dead = false;

  constructor(stopAt?: number) {
    this.#stopAt = stopAt;
  }

  get events(): number {
    return this.#events;
  }

  get dead(): boolean {
    return this.#dead;
  }

  assertAlive(): void {
    if (this.#dead) throw new Killed("the process is dead");
  }

  /** Called before an event takes effect. */
  event(): void {
    this.assertAlive();
    if (++this.#events === this.#stopAt) {
      this.#dead = true;
      throw new Killed(`killed at event ${this.#events}`);
    }
  }
}

/** A file as an open descriptor of one process. */
export class MachineDisk implements Disk {
  readonly path: string;
  readonly #machine: Machine;
  readonly #file: MemoryDisk;

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
    this.#machine.assertAlive();
    return this.#file.read(offset, target);
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#machine.event();
    return this.#file.write(offset, data);
  }

  async sync(): Promise<void> {
    this.#machine.event();
    return this.#file.sync();
  }

  async truncate(size: number): Promise<void> {
    this.#machine.event();
    return this.#file.truncate(size);
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#machine.event();
    return this.#file.discard(offset, length);
  }

  /** The file itself outlives the process. */
  async close(): Promise<void> {}
}
