import { pad, plainLine, widthOf } from './display.ts';
import type { Palette } from './palette.ts';

export interface Column {
  title: string;
  align?: 'left' | 'right';
  /** May be cut, the lowest number first. Before it has to be cut below `least` cells, expendable columns go. */
  flexible?: number;
  least?: number;
  /** Left out when there is no room, the highest number first; 0 and none never. */
  expendable?: number;
}

export interface Cell {
  text: string;
  paint?: (text: string) => string;
}

const GAP = 2;
/** Cells that a cut column keeps, however narrow the terminal is. */
const NARROWEST = 6;

/** Rows under titles in at most `columns` cells: flexible columns give way, then expendable ones go. Cells are made plain here. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  width: number,
  palette: Palette,
): string[] {
  // Blanks before a text are there to align numbers.
  const texts = rows.map((row) => row.map(({ text }) => (/^ */.exec(text)?.[0] ?? '') + plainLine(text)));
  const natural = columns.map((column, place) =>
    Math.max(widthOf(column.title), ...texts.map((row) => widthOf(row[place] ?? ''))),
  );
  const shown = chooseColumns(columns, natural, width);
  const widths = shareWidth(columns, natural, shown, width);
  const line = (cells: readonly string[], paint: (text: string, place: number) => string): string =>
    shown
      .map((place) =>
        paint(
          pad(cells[place] ?? '', widths.get(place) ?? 0, columns[place]?.align === 'right' ? 'right' : 'left'),
          place,
        ),
      )
      .join(' '.repeat(GAP))
      .trimEnd();
  return [
    line(
      columns.map(({ title }) => title),
      (text) => palette.dim(text),
    ),
    ...rows.map((row, number) => line(texts[number] ?? [], (text, place) => row[place]?.paint?.(text) ?? text)),
  ];
}

function chooseColumns(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  let shown = columns.map((_, place) => place);
  const least = (): number =>
    shown.reduce(
      (total, place) =>
        total +
        (columns[place]?.flexible !== undefined
          ? Math.min(natural[place] ?? 0, columns[place]?.least ?? 8)
          : (natural[place] ?? 0)),
      GAP * (shown.length - 1),
    );
  while (least() > width) {
    const next = shown
      .filter((place) => (columns[place]?.expendable ?? 0) > 0)
      .toSorted((a, b) => (columns[b]?.expendable ?? 0) - (columns[a]?.expendable ?? 0))[0];
    if (next === undefined) break;
    shown = shown.filter((place) => place !== next);
  }
  return shown;
}

function shareWidth(
  columns: readonly Column[],
  natural: readonly number[],
  shown: readonly number[],
  width: number,
): Map<number, number> {
  const widths = new Map(shown.map((place) => [place, natural[place] ?? 0]));
  let over = [...widths.values()].reduce((total, each) => total + each, GAP * (shown.length - 1)) - width;
  const giving = shown
    .filter((place) => columns[place]?.flexible !== undefined)
    .toSorted((a, b) => (columns[a]?.flexible ?? 0) - (columns[b]?.flexible ?? 0));
  for (const place of giving) {
    if (over <= 0) break;
    const wide = widths.get(place) ?? 0;
    const less = Math.max(Math.min(wide, NARROWEST), wide - over);
    widths.set(place, less);
    over -= wide - less;
  }
  return widths;
}
