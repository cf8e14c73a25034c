/** Whether a whole name matches a pattern in which `*` is any text, `?` one character, and `\` takes the next as it is. */
export function matchesGlob(pattern: string, name: string): boolean {
  const source = pattern.replaceAll(/\\(.)|[\s\S]/gu, (found, escaped: string | undefined) => {
    if (escaped === undefined && found === "*") return "[\\s\\S]*";
    if (escaped === undefined && found === "?") return "[\\s\\S]";
    return (escaped ?? found).replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  });
  return new RegExp(`^${source}$`, "u").test(name);
}
