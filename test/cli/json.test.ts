import { expect, test } from "vitest";
import { jsonLines, toJson } from "../../src/cli/json.ts";

test("what is plain is printed as JSON.stringify prints it", () => {
  for (const value of [
    null,
    0.5,
    'a "b" \\ \n é \u{1F600} \uD800',
    [],
    {},
    [[], {}, [null, undefined, 1], { a: [] }],
    { a: 1, left: undefined, "b c": { d: [{ e: true }, { f: undefined }] }, g: "" },
  ]) {
    expect(toJson(value)).toBe(JSON.stringify(value, null, 2));
  }
});

test("64-bit numbers keep their digits, bytes are hexadecimal, and an iterator brings a list", () => {
  function* rows(): Generator<object> {
    yield { big: 2n ** 64n - 1n, minus: -1n };
    yield { bytes: Buffer.from([0, 255]), plain: new Uint8Array([16]) };
  }
  const lines = [...jsonLines({ rows: rows(), none: [].values() })];
  expect(lines).toEqual([
    "{",
    '  "rows": [',
    "    {",
    '      "big": 18446744073709551615,',
    '      "minus": -1',
    "    },",
    "    {",
    '      "bytes": "00ff",',
    '      "plain": "10"',
    "    }",
    "  ],",
    '  "none": []',
    "}",
  ]);
});
