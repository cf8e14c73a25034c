/** Calendar years, months and days, and hours of 60 minutes. */
export interface Duration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

const UNITS = { y: "years", m: "months", d: "days", h: "hours" } as const;

/**
 * Reads `1y5m7d2h`, in any order, each unit once; `m` is a month.
 * @throws TypeError
 */
export function parseDuration(text: string): Duration {
  const found = { years: 0, months: 0, days: 0, hours: 0 };
  const seen = new Set<string>();
  if (!/^(\d{1,6}[ymdh])+$/.test(text)) refuse(text);
  for (const [, count = "", unit = ""] of text.matchAll(/(\d+)([ymdh])/g)) {
    if (seen.has(unit)) refuse(text);
    seen.add(unit);
    found[UNITS[unit as keyof typeof UNITS]] = Number(count);
  }
  return found;
}

function refuse(text: string): never {
  throw new TypeError(
    `policy: ${JSON.stringify(text)} is not a duration: write it as 1y5m7d2h (years, months, days, hours)`,
  );
}

export const isZero = ({ years, months, days, hours }: Duration): boolean =>
  years + months + days + hours === 0;
