import type { Disk } from "../disk/index.ts";
import type { Image, L1Location } from "../image/index.ts";
import { ChainCache } from "./chain-cache.ts";
import type { GuestDisk } from "./guest-disk.ts";
import type { Layer } from "./layer.ts";
import { LayeredDisk } from "./layered-disk.ts";
import { closeLayers, openBehind, rootOf } from "./open-layers.ts";
import { Qcow2Layer, type Qcow2Root } from "./qcow2-layer.ts";

/** What the guest sees of the active layer of an image that is open already, whoever has locked it. */
export class ActiveGuest {
  readonly #disk: Disk;
  readonly #root: Qcow2Root;
  readonly #behind: readonly Layer[];
  readonly #cache: ChainCache;

  private constructor(disk: Disk, root: Qcow2Root, behind: readonly Layer[], cache: ChainCache) {
    this.#disk = disk;
    this.#root = root;
    this.#behind = behind;
    this.#cache = cache;
  }

  /**
   * Opens the files behind the image, as a reader does.
   * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, IMAGE_INVALID, IMAGE_UNSUPPORTED, LIMIT_EXCEEDED; what `checkpoint` throws
   */
  static async open(image: Image, checkpoint: () => void): Promise<ActiveGuest> {
    const behind: Layer[] = [];
    const cache = new ChainCache();
    const { path } = image.disk;
    try {
      if (image.header.backingFileOffset !== 0) {
        await openBehind({ image: path, head: image, mode: "read", cache, checkpoint }, behind);
      }
      return new ActiveGuest(image.disk, rootOf(image, undefined), behind, cache);
    } catch (error) {
      await closeLayers(behind);
      throw error;
    }
  }

  /** As it is, or as another L1 table makes it. It must not be closed. */
  disk(other?: { readonly l1: L1Location; readonly size: number }): GuestDisk {
    const root = { ...this.#root, ...other };
    return new LayeredDisk([new Qcow2Layer(this.#disk, root, this.#cache.forFile()), ...this.#behind]);
  }

  /** Closes the files behind the image, which stays open. */
  async close(): Promise<void> {
    await closeLayers(this.#behind);
  }
}
