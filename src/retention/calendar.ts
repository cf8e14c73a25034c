import type { Duration } from "./duration.ts";

/** What a clock on the wall shows. */
export interface WallTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The calendar of a time zone. */
export class Calendar {
  readonly #format: Intl.DateTimeFormat;

  /** @throws TypeError for a zone that nobody knows */
  constructor(timeZone: string) {
    try {
      this.#format = new Intl.DateTimeFormat("en-US", {
        timeZone,
        calendar: "gregory",
        numberingSystem: "latn",
        hourCycle: "h23",
        era: "short",
        year: "numeric",
        month: "numeric",
        day: "numeric",
        hour: "numeric",
        minute: "numeric",
        second: "numeric",
      });
    } catch (cause) {
      throw new TypeError(
        `policy: ${JSON.stringify(timeZone)} is not a time zone: write it as UTC or Europe/Berlin`,
        { cause },
      );
    }
  }

  /** `time` in milliseconds since 1970. */
  wallTime(time: number): WallTime {
    const parts = new Map(this.#format.formatToParts(time).map(({ type, value }) => [type, value]));
    const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
    return {
      year: number("year"),
      month: number("month"),
      day: number("day"),
      hour: number("hour"),
      minute: number("minute"),
      second: number("second"),
    };
  }

  /**
   * The time that lies `duration` before, by the calendar: a day that the month
   * does not have is as many days into the next one, and hours come last.
   */
  before(time: number, { years, months, days, hours }: Duration): number {
    const { year, month, day, hour, minute, second } = this.wallTime(time);
    const wall = Date.UTC(year - years, month - 1 - months, day - days, hour, minute, second);
    return this.#timeOf(wall + (((time % 1000) + 1000) % 1000)) - hours * HOUR;
  }

  /** A time that the clock skips or shows twice is one of two: which does not matter here. */
  #timeOf(wall: number): number {
    return wall - this.#offset(wall - this.#offset(wall));
  }

  #offset(time: number): number {
    const { year, month, day, hour, minute, second } = this.wallTime(time);
    return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(time / 1000) * 1000;
  }
}

const two = (value: number): string => String(value).padStart(2, "0");

export const yearOf = ({ year }: WallTime): string => String(year);
export const monthOf = ({ year, month }: WallTime): string => `${year}-${two(month)}`;
export const dayOf = (wall: WallTime): string => `${monthOf(wall)}-${two(wall.day)}`;
export const hourOf = (wall: WallTime): string => `${dayOf(wall)} ${two(wall.hour)}h`;

/** By ISO 8601: a week begins on Monday and belongs to the year that has its Thursday. */
export function weekOf({ year, month, day }: WallTime): string {
  const midnight = Date.UTC(year, month - 1, day);
  const weekday = (new Date(midnight).getUTCDay() + 6) % 7;
  const thursday = midnight + (3 - weekday) * DAY;
  const ofYear = new Date(thursday).getUTCFullYear();
  return `${ofYear}-W${two(1 + Math.floor((thursday - Date.UTC(ofYear, 0, 1)) / (7 * DAY)))}`;
}
