/**
 * How a snapshot is named on the command line: by its exact name, or `id:N`.
 * `name:` before a name that itself begins with `id:` or `name:`.
 */
export function parseSelector(text: string): { readonly id: string } | { readonly name: string } {
  if (text.startsWith("id:")) return { id: text.slice("id:".length) };
  if (text.startsWith("name:")) return { name: text.slice("name:".length) };
  return { name: text };
}

/** The same as the API takes it. */
export function refOf(text: string): string | { readonly id: string } {
  const selector = parseSelector(text);
  return "id" in selector ? selector : selector.name;
}
