import type { TopicsOf } from "../../journal/index.ts";
import { decodeBegun, decodeRepaired } from "./bodies.ts";

/** What a record is found by in the journal: the resolved paths of its images. */
export const topicsOf: TopicsOf = ({ kind, body }) => {
  if (kind === "begun") return decodeBegun(body).images.map(({ path }) => path);
  const repaired = kind === "note" ? decodeRepaired(body) : undefined;
  return repaired === undefined ? [] : [repaired.image.path];
};
