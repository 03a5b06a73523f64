import { isTerminal } from '../contract/run.ts';
import { fit, fitEnd, pad, plainLine, widthOf } from './display.ts';
import { reasonWords } from './end-reasons.ts';
import { count, elapsed, lineChange, money, UNKNOWN } from './format.ts';
import type { Palette } from './palette.ts';
import { type RunState, sum, type VariationState } from './run-state.ts';

/** The picture of a run in a terminal: pure functions from state to lines. Drawing them is `terminal-block.ts`'s job. */
export interface Frame {
  columns: number;
  rows: number;
  /** Milliseconds since the epoch. */
  now: number;
  palette: Palette;
  /** Whether the terminal shows more than ASCII. */
  unicode: boolean;
}

const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const ASCII_SPINNER = ['|', '/', '-', '\\'];
const WORD: Record<string, string> = {
  thinking: 'thinks',
  says: 'says',
  tool: 'tool',
  output: 'output',
  error: 'error',
  note: 'note',
  result: 'result',
  status: '',
  plan: 'plan',
};

/** The run as lines: each at most `columns` wide, at most `rows - 1` of them. Thoughts go first when there is little room, then ended variations. */
export function render(state: RunState, frame: Frame): string[] {
  const room = Math.max(2, frame.rows - 1) - 1;
  const shown = chooseVariations(state.variations, room);
  const hidden = state.variations.length - shown.length;
  const spare = room - shown.length - (hidden > 0 ? 1 : 0);
  const thoughts = shareThoughts(shown, spare);
  const lines = [headLine(state, frame)];
  for (const [place, line] of stateLines(shown, frame).entries()) {
    const variation = shown[place];
    lines.push(
      line,
      ...(variation === undefined ? [] : thoughtLines(variation, thoughts.get(variation.index) ?? 0, frame)),
    );
  }
  if (hidden > 0) lines.push(frame.palette.dim(fit(`  and ${hidden} more`, frame.columns)));
  return lines;
}

/** Which variations get a line: all where there is room, else those that work before those that wait before those that ended. */
function chooseVariations(variations: readonly VariationState[], room: number): VariationState[] {
  if (variations.length <= room) return [...variations];
  const rank = ({ status }: VariationState): number => (isTerminal(status) ? 2 : status === 'queued' ? 1 : 0);
  return variations
    .toSorted((a, b) => rank(a) - rank(b) || a.index - b.index)
    .slice(0, Math.max(0, room - 1))
    .toSorted((a, b) => a.index - b.index);
}

/** How many lines of thoughts each variation gets: one for each that works, then a second, as far as the room goes. */
function shareThoughts(variations: readonly VariationState[], spare: number): Map<number, number> {
  const lines = new Map<number, number>();
  for (const round of [1, 2]) {
    for (const { index, status, recent, waiting } of variations) {
      if (spare === 0) return lines;
      if (isTerminal(status) || (waiting === null ? recent.length : 1) < round) continue;
      lines.set(index, round);
      spare -= 1;
    }
  }
  return lines;
}

function headLine(state: RunState, { columns, now, palette }: Frame): string {
  const over = state.variations.filter(({ status }) => isTerminal(status)).length;
  const left = `run ${state.runId}`;
  const facts = [
    state.status,
    elapsed((state.endedAt ?? now) - state.startedAt),
    `${over} of ${state.variations.length} done`,
    `${total(state, 'tokens', count)} tokens`,
    total(state, 'cost', money),
  ];
  const right = fit(`  ${facts.join('  ')}`, Math.max(0, columns - widthOf(left)));
  return palette.bold(fit(left, columns)) + right;
}

/** The sum over all variations. Where a part is unknown, the rest of it with a `+`: at least so much. */
function total({ variations }: RunState, what: 'tokens' | 'cost', format: (value: number | null) => string): string {
  const parts = variations.filter(({ calls }) => calls > 0).map((variation) => variation[what]);
  const known = parts.filter((part) => part !== null);
  return known.length === 0 ? format(null) : `${format(sum(known))}${known.length < parts.length ? '+' : ''}`;
}

/** The least width a terminal must have for each of a state line's figures. */
const FIGURES_FROM = { lines: 70, tokens: 50, money: 60, time: 30 };

/** One line per variation, their columns under each other. */
function stateLines(variations: readonly VariationState[], { columns, now, palette, unicode }: Frame): string[] {
  const rows = variations.map((variation) => {
    const { calls, startedAt, endedAt } = variation;
    return [
      columns < FIGURES_FROM.lines ? '' : lineChange(variation.additions, variation.deletions),
      columns < FIGURES_FROM.tokens ? '' : count(calls === 0 ? null : variation.tokens),
      columns < FIGURES_FROM.money ? '' : money(calls === 0 ? null : variation.cost),
      columns < FIGURES_FROM.time ? '' : startedAt === null ? UNKNOWN : elapsed((endedAt ?? now) - startedAt),
    ];
  });
  const widths = [0, 1, 2, 3].map((place) => Math.max(0, ...rows.map((row) => widthOf(row[place] ?? ''))));
  const outcomeWidth = Math.min(
    Math.max(0, ...variations.map((variation) => widthOf(outcomeOf(variation)))),
    columns < 60 ? 10 : 21,
  );
  const last = new Set(variations.map(({ agent }) => agent)).size > 1 ? 'agent' : 'model';
  return variations.map((variation, line) => {
    const figures = widths
      .map((width, place) => (width === 0 ? '' : `  ${pad(rows[line]?.[place] ?? '', width, 'right')}`))
      .join('');
    const mark = markOf(variation, now, unicode);
    const outcome = pad(outcomeOf(variation), outcomeWidth);
    const rest = columns - 7 - widthOf(figures) - outcomeWidth;
    if (rest < 1) return fit(`${mark} ${variation.index} ${outcome}`, columns);
    const paint = paintOf(variation, palette);
    return `${paint(mark)} ${String(variation.index).padStart(2)} ${pad(nameOf(variation, rest, last), rest)}  ${paint(outcome)}${figures}`;
  });
}

function paintOf({ status }: VariationState, palette: Palette): (text: string) => string {
  if (status === 'succeeded') return palette.good;
  if (status === 'failed') return palette.bad;
  return status === 'cancelled' ? palette.warn : palette.accent;
}

function markOf({ status }: VariationState, now: number, unicode: boolean): string {
  switch (status) {
    case 'succeeded':
      return unicode ? '✓' : '+';
    case 'failed':
      return unicode ? '✗' : 'x';
    case 'cancelled':
      return '-';
    case 'queued':
      return unicode ? '·' : '.';
    case 'starting':
    case 'running':
    case 'finishing': {
      const frames = unicode ? SPINNER : ASCII_SPINNER;
      return frames[Math.floor(now / 100) % frames.length] ?? '-';
    }
  }
}

function outcomeOf({ status, endReason, waiting }: VariationState): string {
  if (status === 'failed') return endReason === null ? 'failed' : reasonWords(endReason);
  return waiting === null ? status : 'waiting';
}

/** `smallest-change · builtin · anthropic/claude-sonnet-4-5`, as much of it as fits; what tells variations apart stays longest: agents in a mix of them. */
export function nameOf(
  variation: Pick<VariationState, 'agent' | 'model' | 'strategy'>,
  columns: number,
  last: 'agent' | 'model' = 'model',
): string {
  const agent = plainLine(variation.agent);
  const model = plainLine(variation.model);
  const shortModel = model.slice(model.indexOf('/') + 1);
  const strategy = variation.strategy === null ? [] : [plainLine(variation.strategy)];
  const forms = [
    [...strategy, agent, model],
    [...strategy, agent, shortModel],
    ...(last === 'agent'
      ? [[...strategy, agent]]
      : [
          [...strategy, model],
          [...strategy, shortModel],
        ]),
  ].map((parts) => parts.join(' · '));
  return (
    forms.find((form) => widthOf(form) <= columns) ??
    fit(strategy[0] ?? (last === 'agent' ? agent : shortModel), columns)
  );
}

function thoughtLines({ recent, waiting }: VariationState, lines: number, { columns, palette }: Frame): string[] {
  if (lines === 0) return [];
  // What it waits for goes before all that was said: it is what a person can do something about.
  if (waiting !== null) return [palette.warn(fit(`     waiting: ${plainLine(waiting)}`, columns))];
  return recent.slice(-lines).map(({ kind, text }, place, all) => {
    const word = WORD[kind] ?? kind;
    const head = `     ${word === '' ? '' : `${word}: `}`;
    const plain = plainLine(text);
    const room = columns - widthOf(head);
    // The last words move on as they are spoken: their end is what is new.
    const moving = place === all.length - 1 && (kind === 'thinking' || kind === 'says');
    return palette.dim(fit(head + (moving ? fitEnd(plain, room) : fit(plain, room)), columns));
  });
}
