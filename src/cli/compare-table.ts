import type { Comparison, Evidence } from '../contract/api.ts';
import { fit, plainLine, widthOf, wrap } from './display.ts';
import { reasonWords } from './end-reasons.ts';
import { allTokens, costOf, count, duration, lineChange, money, plural, UNKNOWN } from './format.ts';
import { budgetWords } from './budget-words.ts';
import { type Cell, type Column, table } from './table.ts';
import type { Palette } from './palette.ts';

const COLUMNS: readonly Column[] = [
  { title: '# variation', flexible: 1, least: 14 },
  { title: 'outcome', flexible: 2, least: 13 },
  { title: 'files', align: 'right', expendable: 3 },
  { title: '+/-', align: 'right', expendable: 1 },
  { title: 'tests', align: 'right', expendable: 5 },
  { title: 'tokens', align: 'right', expendable: 6 },
  { title: 'cost', align: 'right', expendable: 2 },
  { title: 'time', align: 'right', expendable: 4 },
];

/** The evidence of a run as lines of at most `columns` cells: the table, what went wrong, and which files were touched by whom. */
export function renderComparison(comparison: Comparison, columns: number, palette: Palette): string[] {
  const { variations, choice } = comparison;
  const chosen = choice?.winning_variation_id ?? null;
  const means = variations.map(({ agent, model }) => plainLine(`${agent} · ${model}`));
  const same = new Set(means).size === 1;
  const [head = '', ...rows] = table(
    COLUMNS,
    variations.map((each) => cellsOf(each, chosen, String(variations.length - 1).length, palette)),
    columns,
    palette,
  );
  // Agent and model that all variations share are said once, above; else under each.
  return [
    ...(same ? [palette.dim(fit(`all by ${means[0] ?? ''}`, columns))] : []),
    head,
    ...rows.flatMap((row, place) =>
      same ? [row] : [row, palette.dim(fit(`${' '.repeat(4)}${means[place] ?? ''}`, columns))],
    ),
    ...remarks(comparison, columns, palette),
    ...fileLines(comparison, columns, palette),
    ...budgetLines(comparison, columns, palette),
    ...choiceLines(comparison, columns, palette),
  ];
}

function cellsOf(each: Evidence, chosen: number | null, digits: number, palette: Palette): Cell[] {
  const { status, end_reason: reason } = each;
  const isChosen = chosen === each.variation_id;
  const paint =
    status === 'succeeded'
      ? palette.good
      : status === 'failed'
        ? palette.bad
        : status === 'cancelled'
          ? palette.warn
          : palette.accent;
  return [
    {
      text: `${String(each.variation_id).padStart(digits)} ${lineageOf(each)}${each.strategy ?? 'no strategy'}`,
      ...(isChosen ? { paint: palette.bold } : {}),
    },
    { text: outcomeOf(status, reason, isChosen), paint },
    { text: each.files === null ? UNKNOWN : String(each.files.length) },
    { text: lineChange(each.additions, each.deletions) },
    { text: each.tests_touched === null ? UNKNOWN : String(each.tests_touched) },
    { text: count(allTokens(each.usage)) },
    { text: money(costOf(each.usage)) },
    { text: duration(each.running_ms) },
  ];
}

/** `← 0`: made from what variation 0 had left. It stands before the name, which may be cut. */
function lineageOf({ forked_from: from }: Evidence): string {
  return from === null ? '' : `← ${from.variation_id} `;
}

function outcomeOf(status: Evidence['status'], reason: Evidence['end_reason'], isChosen: boolean): string {
  if (status === 'failed' && reason !== null) return reasonWords(reason);
  return isChosen && status === 'succeeded' ? 'chosen' : status;
}

/** Lines of one remark: an agent's last words may be long, and `aideator show` has them all. */
const MOST_LINES = 4;

/** What a cell has no room for: why a variation failed, what a patch cannot carry, logs with holes, equal results. */
function remarks({ variations }: Comparison, columns: number, palette: Palette): string[] {
  const lines: string[] = [];
  const say = (head: string, text: string, paint: (text: string) => string): void => {
    const all = wrap(`${head}: ${plainLine(text)}`, columns - 4);
    const [first = '', ...more] = all.length > MOST_LINES ? [...all.slice(0, MOST_LINES), '…'] : all;
    lines.push(`${paint(head)}${first.slice(head.length)}`, ...more.map((line) => `    ${line}`));
  };
  for (const {
    variation_id: index,
    status,
    end_reason: reason,
    message,
    not_carried: left,
    key_lines: keys,
    log_complete: complete,
  } of variations) {
    if (status === 'failed' || (status === 'cancelled' && message !== null))
      say(`${index} ${status}`, message ?? reason ?? 'nobody knows why', palette.bad);
    for (const { path, what } of left) say(`${index} leaves out`, `${path} (${what})`, palette.warn);
    for (const { path, line, what } of keys) say(`${index} may hold a key`, `${path}:${line} (${what})`, palette.warn);
    if (complete === false)
      say(`${index} has gaps`, 'some of what it said was lost; `aideator show` says which', palette.warn);
  }
  const told = new Set<number>();
  for (const { variation_id: index, same_as: same } of variations) {
    if (same.length === 0 || told.has(index)) continue;
    const group = [index, ...same].toSorted((a, b) => a - b);
    for (const each of group) told.add(each);
    say('same result', `${group.join(', ')}: the same to the byte`, palette.accent);
  }
  return lines.length === 0 ? [] : ['', ...lines];
}

/** Files of one kind that are listed by name; what is beyond is counted. */
const MOST_FILES = 12;

function fileLines({ files, variations }: Comparison, columns: number, palette: Palette): string[] {
  const changed = variations.filter((each) => each.files !== null && each.files.length > 0).length;
  const groups = [
    {
      title: changed > 1 ? `touched by all ${changed}` : 'touched',
      paths: changed > 1 ? files.all : [...files.all, ...files.one.map(({ path }) => path)],
    },
    { title: 'touched by some', paths: files.some.map(({ path, variations: by }) => `${path} (${by.join(', ')})`) },
    {
      title: 'touched by one',
      paths: changed > 1 ? files.one.map(({ path, variation_id: by }) => `${path} (${by})`) : [],
    },
  ].filter(({ paths }) => paths.length > 0);
  return groups.flatMap(({ title, paths }, place) => {
    const more = paths.length > MOST_FILES ? [`and ${plural(paths.length - MOST_FILES, 'more file')}`] : [];
    const lines = [...paths.slice(0, MOST_FILES).map(plainLine), ...more].flatMap((path) => wrap(path, columns - 4));
    return [...(place === 0 ? [''] : []), palette.dim(title), ...joinShort(lines, columns)];
  });
}

/** Short names side by side, as many as fit a line. */
function joinShort(names: readonly string[], columns: number): string[] {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 2 + widthOf(name) <= columns)
      lines[lines.length - 1] = `${last}, ${name}`;
    else lines.push(`  ${name}`);
  }
  return lines;
}

function budgetLines({ budget }: Comparison, columns: number, palette: Palette): string[] {
  if (budget === null) return [];
  return ['', ...wrap(`budget: ${budgetWords(budget)}`, columns).map((line) => palette.dim(line))];
}

function choiceLines({ choice }: Comparison, columns: number, palette: Palette): string[] {
  if (choice === null) return [];
  const because = choice.reason === null ? '' : `: ${plainLine(choice.reason)}`;
  const shipped = choice.shipped.map(
    ({ kind, target, commit }) =>
      `shipped: ${kind} ${plainLine(target)}${commit === null ? '' : ` (${commit.slice(0, 12)})`}`,
  );
  // The same may be shipped again: that is one line.
  return ['', ...new Set([`chosen: ${choice.winning_variation_id}${because}`, ...shipped])].flatMap((line) =>
    wrap(line, columns).map((part) => palette.bold(part)),
  );
}

/** What to type next, given how far the choosing is. */
export function nextCommands({ run_id: id, variations, choice }: Comparison): string[] {
  const candidates = variations.filter(
    ({ status, files }) => status === 'succeeded' && files !== null && files.length > 0,
  );
  const [first, second] = candidates;
  if (choice !== null) return choice.shipped.length > 0 ? [] : [`aideator ship ${id}`];
  if (first === undefined)
    return [
      `aideator logs ${id}`,
      ...variations
        // Where a budget is used up, nothing new is started.
        .filter(({ status, end_reason: reason }) => status === 'failed' && reason !== 'budget_exhausted')
        .slice(0, 1)
        .map((each) => `aideator retry ${id} ${each.variation_id}`),
    ];
  return [
    ...(second === undefined ? [] : [`aideator compare ${id} ${first.variation_id} ${second.variation_id}`]),
    `aideator choose ${id} ${first.variation_id} --reason "…"`,
    `aideator ship ${id}`,
  ];
}
