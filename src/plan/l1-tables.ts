import { type Image, type L1Location, type L1Table, readL1Table } from "../image/index.ts";
import type { ReceivedTables } from "./received-tables.ts";

/** L1 tables that the plan needs, each read once. */
export class L1Tables {
  readonly #image: Image;
  readonly #tables = new Map<number, Promise<L1Table>>();

  /** What stands for the table that is stored nowhere yet. */
  #received: ReceivedTables | undefined;

  constructor(image: Image) {
    this.#image = image;
  }

  /** Tells what a receive makes. */
  put(received: ReceivedTables): void {
    this.#received = received;
    this.#tables.set(received.rest.offset, Promise.resolve(received.rest));
  }

  /** The same as `read`, with the L2 tables that do not exist yet. */
  async whole(location: L1Location): Promise<L1Table> {
    const { whole } = this.#received ?? {};
    return whole?.offset === location.offset ? whole : this.read(location);
  }

  read(location: L1Location): Promise<L1Table> {
    const { disk, header } = this.#image;
    const table = this.#tables.get(location.offset) ?? readL1Table(disk, header.geometry, location);
    this.#tables.set(location.offset, table);
    return table;
  }
}
