import type { Usage } from '../contract/api.ts';

/** Figures as words. What is unknown is `-`, never 0. */
export const UNKNOWN = '-';

/** Integer micro-dollars as dollars, exact: `$0.0123`, `$0.000071`, `$12.5000`, `$0`; null is `-`. */
export function money(microdollars: number | null): string {
  if (microdollars === null) return UNKNOWN;
  if (microdollars === 0) return '$0';
  const whole = Math.floor(microdollars / 1_000_000);
  const rest = String(microdollars % 1_000_000).padStart(6, '0');
  return `$${whole}.${rest.slice(0, 4)}${rest.slice(4).replace(/0+$/, '')}`;
}

/** `950`, `3.2k`, `128k`, `1.4M`; null is `-`. */
export function count(value: number | null): string {
  if (value === null) return UNKNOWN;
  if (value < 1000) return String(value);
  if (value < 99_950) return `${(value / 1000).toFixed(1)}k`;
  if (value < 999_500) return `${Math.round(value / 1000)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** All tokens of a usage, cached ones included; null as soon as input or output is unknown, and where no call was made. */
export function allTokens(usage: Usage): number | null {
  if (usage.calls === 0 || usage.input_tokens === null || usage.output_tokens === null) return null;
  return usage.input_tokens + usage.output_tokens + (usage.cache_read_tokens ?? 0) + (usage.cache_write_tokens ?? 0);
}

/** What a usage cost; null where it is unknown, and where no call was made. */
export function costOf(usage: Usage): number | null {
  return usage.calls === 0 ? null : usage.cost_microdollars;
}

/** Milliseconds as `0.4s`, `12s`, `3:07`, `1:02:03`; null is `-`. */
export function duration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  if (ms < 9950) return `${(Math.max(0, ms) / 1000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  return clockOf(seconds);
}

/** Milliseconds as a running clock: `0:05`, `12:03`, `1:02:03`. */
export function elapsed(ms: number): string {
  return clockOf(Math.max(0, Math.floor(ms / 1000)));
}

function clockOf(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** `+12 -3`; null is `-`. */
export function lineChange(additions: number | null, deletions: number | null): string {
  return additions === null || deletions === null ? UNKNOWN : `+${additions} -${deletions}`;
}

/** An ISO time as the wall clock's `12:03:04`, in the machine's time zone. */
export function wallClock(iso: string): string {
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) ? '--:--:--' : time.toTimeString().slice(0, 8);
}

/** An ISO time as `2026-11-23 12:03`, in the machine's time zone. */
export function dateTime(iso: string): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return UNKNOWN;
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

/** `1 file`, `3 files`. */
export function plural(value: number, word: string): string {
  return `${value} ${word}${value === 1 ? '' : 's'}`;
}
