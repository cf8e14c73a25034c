import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Folders of tests that search: some of their files take minutes, those of other folders seconds. */
const SEARCHES = ["crash", "hostile", "kill", "interop"];

const isSearch = ({ moduleId }: TestSpecification): boolean =>
  SEARCHES.some((folder) => moduleId.includes(`/test/${folder}/`));

/** Where it has not seen them yet, vitest begins with the files of most bytes: a worker would be left alone with a search. */
export class SearchesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- no array is sorted here
    const sorted = await super.sort(files);
    return [...sorted.filter(isSearch), ...sorted.filter((file) => !isSearch(file))];
  }
}
