import type { GuestDisk } from "./guest-disk.ts";

/**
 * Opens what a guest sees of a state of an image: of the snapshot with this name
 * or id, else of the active layer. `forceShare` takes no lock.
 */
export type OpenState = (path: string, options: OpenStateOptions) => Promise<GuestDisk>;

export interface OpenStateOptions {
  readonly snapshot?: string | { readonly id: string };
  readonly forceShare?: boolean;
  /** That of the caller: opening may take long. */
  readonly signal?: AbortSignal;
}
