import type { GuestDisk } from "./guest-disk.ts";

/**
 * Opens what a guest sees of a state of an image: a snapshot by its name or
 * `{ id }`, undefined for the active layer. `forceShare` takes no lock.
 */
export type OpenState = (
  path: string,
  snapshot: string | { readonly id: string } | undefined,
  options: { readonly forceShare: boolean },
) => Promise<GuestDisk>;
