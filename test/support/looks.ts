import { type Image, info, rawDigest } from "./qemu.ts";

/** Everything a guest or a script could compare. Dates differ by the time that passes between twins. */
export async function looks(image: Image) {
  const { "virtual-size": virtualSize, snapshots = [] } = await info(image);
  const contents = [];
  for (const { id } of snapshots) {
    contents.push(
      await rawDigest(image, { snapshotId: id }).catch((error: unknown) => String(error).split("\n")[0]),
    );
  }
  return {
    virtualSize,
    active: await rawDigest(image),
    contents,
    snapshots: snapshots.map(({ "date-sec": _sec, "date-nsec": _nsec, ...rest }) => rest),
  };
}
