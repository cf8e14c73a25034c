import { type Image, type L1Location, type L1Table, readL1Table } from "../image/index.ts";

/** L1 tables that the plan needs, each read once. */
export class L1Tables {
  readonly #image: Image;
  readonly #tables = new Map<number, Promise<L1Table>>();

  constructor(image: Image) {
    this.#image = image;
  }

  read(location: L1Location): Promise<L1Table> {
    const { disk, header } = this.#image;
    const table = this.#tables.get(location.offset) ?? readL1Table(disk, header.geometry, location);
    this.#tables.set(location.offset, table);
    return table;
  }
}
