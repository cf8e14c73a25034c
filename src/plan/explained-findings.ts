import { QcowalError } from "../errors/index.ts";
import { l2EntryProblem } from "../format/index.ts";
import { type Finding, type Image, checkTables } from "../image/index.ts";

/** Of one finding, as many owners as tell what to look at. */
const MAX_OWNERS = 4;

const INVALID_ENTRY = /^entry (\d+) of the L2 table at 0x([0-9a-f]+) is invalid$/;

/** A finding of a census about an entry, with what is wrong with it. */
export async function explained({ disk, header }: Image, finding: string): Promise<string> {
  const [, entry, table] = INVALID_ENTRY.exec(finding) ?? [];
  if (entry === undefined || table === undefined) return finding;
  const bytes = Buffer.alloc(8);
  await disk.read(parseInt(table, 16) + Number(entry) * header.geometry.l2EntrySize, bytes);
  const problem = l2EntryProblem(header.geometry, bytes.readUInt32BE(0), bytes.readUInt32BE(4));
  return problem === undefined ? finding : `${finding}: ${problem}`;
}

/**
 * Findings of a census with whose they are, as `qcowal check` says it: which
 * layer, which snapshots, which table. Costs a check, and is for an image that is
 * refused; where the check cannot be made, the findings are as they were.
 */
export async function withOwners(image: Image, findings: readonly string[]): Promise<string[]> {
  const checked = await checkFindings(image);
  const words: string[] = [];
  for (const finding of findings) {
    const owners = checked.find((other) => isAbout(finding, other))?.owners ?? [];
    const more = owners.length > MAX_OWNERS ? ", and more" : "";
    const whose = owners.length === 0 ? "" : ` [${owners.slice(0, MAX_OWNERS).join(", ")}${more}]`;
    words.push((await explained(image, finding)) + whose);
  }
  return words;
}

async function checkFindings(image: Image): Promise<readonly Finding[]> {
  try {
    const isLost = image.snapshotTable.snapshots.length === 0;
    const header = isLost ? { ...image.header, snapshotCount: 0 } : image.header;
    return (await checkTables(image.disk, { ...image, header })).findings;
  } catch (error) {
    if (error instanceof QcowalError) return [];
    throw error;
  }
}

/** They have the cluster, or the entry of a table, in common. */
function isAbout(finding: string, { where, cluster }: Finding): boolean {
  const [, table, entry] = /^L2 table at (0x[0-9a-f]+), entry (\d+)$/.exec(where) ?? [];
  return table === undefined
    ? cluster !== undefined && finding.startsWith(`cluster ${cluster} `)
    : finding.startsWith(`entry ${entry} of the L2 table at ${table} `);
}
