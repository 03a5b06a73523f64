import type { Run } from '../contract/api.ts';
import { plainLine } from './display.ts';
import type { StreamItem } from './event-stream.ts';
import type { FollowOptions } from './follow.ts';
import { plural } from './format.ts';
import { render } from './live-view.ts';
import { adoptRun, applyEvent, beginState } from './run-state.ts';
import type { Session } from './session.ts';
import { TerminalBlock } from './terminal-block.ts';
import { Transcript } from './transcript.ts';

/** About 12 frames a second. */
const FRAME = 83;
/** Milliseconds after which a sentence without an end is printed as it is. */
const IDLE = 1500;

/** How what happens to a run is shown. */
export interface Presentation {
  item(item: StreamItem): void;
  /** A remark of ours, between what is shown. */
  say(text: string): void;
  /** The run is over, or is left. Gives the terminal back. */
  end(run: Run | null): void;
}

/** The way to show a run that fits the options and the terminal. */
export function choosePresentation(session: Session, run: Run, options: FollowOptions): Presentation {
  const { stdout } = session.io;
  if (options.show === 'events') return showEvents(session);
  if (options.show === 'silent') return showNothing(session);
  const live = stdout.isTTY && session.io.env['TERM'] !== 'dumb' && options.plain !== true;
  return live ? showLive(session, run) : showPlain(session, run, options.full === true);
}

function showNothing(session: Session): Presentation {
  return {
    item: (item) => remarkOn(item, (text) => session.remark(text)),
    say: (text) => session.remark(text),
    end: () => undefined,
  };
}

function showEvents(session: Session): Presentation {
  const item = (given: StreamItem): void => {
    if (given.kind === 'event')
      session.print(`{"id":${given.event.id},"type":${JSON.stringify(given.event.type)},"data":${given.text}}`);
    else if (given.kind === 'reset') session.print(JSON.stringify({ type: 'reset', data: given.data }));
    else remarkOn(given, (text) => session.remark(text));
  };
  return { item, say: (text) => session.remark(text), end: () => undefined };
}

function showPlain(session: Session, run: Run, full: boolean): Presentation {
  const transcript = new Transcript({ label: labelOf(run), palette: session.palette, full });
  let idle: NodeJS.Timeout | undefined;
  const flush = (): void => session.print(...transcript.flush());
  const say = (text: string): void => session.remark(session.errPalette.warn(text));
  return {
    item(item) {
      clearTimeout(idle);
      remarkOn(item, say);
      if (item.kind !== 'event') return;
      session.print(...transcript.push(item.event));
      idle = setTimeout(flush, IDLE);
    },
    say,
    end() {
      clearTimeout(idle);
      flush();
    },
  };
}

function showLive(session: Session, run: Run): Presentation {
  const { io, palette } = session;
  let state = beginState(run);
  const block = new TerminalBlock(io.stdout);
  const unicode = hasUnicode(io.env);
  const draw = (): void =>
    block.draw(render(state, { columns: io.stdout.columns, rows: io.stdout.rows, now: io.now(), palette, unicode }));
  const timer = setInterval(draw, FRAME);
  // Whatever ends this process: the cursor comes back.
  const off = io.onExit(() => block.leave());
  let over = false;
  const say = (text: string): void => (over ? session.print(text) : block.above(text));
  return {
    item(item) {
      remarkOn(item, say);
      if (item.kind === 'reset') state = beginState(run);
      if (item.kind === 'event') applyEvent(state, item.event);
    },
    say,
    end(latest) {
      over = true;
      clearInterval(timer);
      if (latest !== null) adoptRun(state, latest);
      block.leave();
      off();
    },
  };
}

function remarkOn(item: StreamItem, say: (text: string) => void): void {
  switch (item.kind) {
    case 'lost':
      // Said once in an outage, however long it lasts.
      return item.tries === 0
        ? say(`The connection was lost (${item.reason}); trying again, nothing is missed.`)
        : undefined;
    case 'back':
      return say('Connected again.');
    case 'reset':
      return say('The server does not know this place in the log: it begins anew, with the first event that is kept.');
    case 'event': {
      const left = item.event.data['uncommitted'];
      if (item.event.type === 'run_status' && typeof left === 'number' && left > 0) {
        say(
          `${plural(left, 'uncommitted change')} in the repository ${left === 1 ? 'is' : 'are'} not part of the run: it starts from the commit.`,
        );
      }
    }
  }
}

/** `0 smallest-change`; without a strategy what else tells variations apart. */
export function labelOf(run: Pick<Run, 'variations'>): (variation: number) => string {
  const models = new Set(run.variations.map(({ model }) => model));
  return (index) => {
    const variation = run.variations[index];
    if (variation === undefined) return String(index);
    return plainLine(`${index} ${variation.strategy ?? (models.size > 1 ? variation.model : variation.agent)}`);
  };
}

/** Whether the locale's characters are Unicode. Source: POSIX, LC_ALL before LC_CTYPE before LANG. */
function hasUnicode(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = [env['LC_ALL'], env['LC_CTYPE'], env['LANG']].find((value) => value !== undefined && value !== '');
  return env['TERM'] !== 'linux' && (locale === undefined || /utf-?8/i.test(locale));
}
