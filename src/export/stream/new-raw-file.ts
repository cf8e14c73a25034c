import { type NewFile, doesNotMakeIt } from "./make-new.ts";
import {
  type ReceiveOptions,
  type VerifiedStream,
  digestOfDisk,
  recordsOf,
  throwIfAborted,
} from "./receiving.ts";

/** The bytes of the disk, with holes where there are zeros. */
export const newRawFile = (stream: VerifiedStream, options: ReceiveOptions): NewFile => ({
  look: async (disk) => {
    const size = await disk.size();
    return { size, digestOf: () => digestOfDisk(disk, size, "compare", options) };
  },
  fill: async (disk) => {
    const { header, end } = stream;
    await disk.truncate(header.to.size);
    let done = 0;
    for await (const record of recordsOf(stream)) {
      throwIfAborted(options.signal);
      if (record.type === "data") await disk.write(record.offset, record.bytes);
      done += record.type === "data" ? record.bytes.length : record.length;
      options.onProgress?.("apply", done, end.data + end.zero);
    }
    await disk.sync();
    if ((await digestOfDisk(disk, header.to.size, "check", options)) !== end.to) throw doesNotMakeIt(stream);
  },
});
