import { expect, test, vi } from "vitest";
import { receiveStream } from "../../src/index.ts";
import { Receiver, States, dribble } from "./stream-lab.ts";

vi.mock("fs-native-extensions", async (original) => ({
  ...(await original<typeof import("fs-native-extensions")>()),
  trim: () => Promise.reject(new Error("EOPNOTSUPP")),
}));

test("a stream is applied on a file system that cannot punch holes", async () => {
  const states = new States();
  const receiver = await Receiver.at(states.content(3));
  const report = await receiveStream(receiver.target, dribble(await states.stream(3, 4)));
  expect(report.zero).toBeGreaterThan(0);
  expect((await receiver.bytes()).equals(states.content(4))).toBe(true);
});
