/** Colours of a terminal, or none. Meaning is never in the colour alone. */
export interface Palette {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  bad(text: string): string;
  warn(text: string): string;
  accent(text: string): string;
}

function style(open: number, close: number): (text: string) => string {
  return (text) => (text === '' ? '' : `\u001b[${open}m${text}\u001b[${close}m`);
}

export const colours: Palette = {
  bold: style(1, 22),
  dim: style(2, 22),
  good: style(32, 39),
  bad: style(31, 39),
  warn: style(33, 39),
  accent: style(36, 39),
};

const same = (text: string): string => text;
export const noColours: Palette = { bold: same, dim: same, good: same, bad: same, warn: same, accent: same };

/**
 * Whether to colour: `NO_COLOR` (any value but empty) says no, then `FORCE_COLOR` says yes (0 or false: no), else a terminal
 * that is not `dumb` says yes. Source: no-color.org, force-color.org.
 */
export function choosePalette(env: Readonly<Record<string, string | undefined>>, isTTY: boolean): Palette {
  const no = env['NO_COLOR'];
  if (no !== undefined && no !== '') return noColours;
  const force = env['FORCE_COLOR'];
  if (force !== undefined) return force === '0' || force === 'false' ? noColours : colours;
  return isTTY && env['TERM'] !== 'dumb' ? colours : noColours;
}
