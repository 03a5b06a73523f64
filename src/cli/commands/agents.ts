import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentView } from '../../contract/api-system.ts';
import { AppError } from '../../errors.ts';
import type { Client } from '../client.ts';
import { pad, plainLine, widthOf, wrap } from '../display.ts';
import type { Session } from '../session.ts';

/** How often a server is asked whether an installation is done (ms). */
const POLL_MS = 500;

/** Those that can be run, and where to see the others. */
export function agentsText(agents: readonly AgentView[]): string {
  const ready = agents.flatMap(({ name, state }) => (state === 'ready' ? [name] : []));
  return `${ready.join(', ')}; \`aideator agents list\` shows all ${agents.length}`;
}

/** `aideator agents list`. */
export async function listAgents(session: Session): Promise<number> {
  const client = await session.connectUpToDate();
  const agents = await client.agents();
  if (session.json) {
    session.printJson({ agents });
    return 0;
  }
  const width = Math.max(...agents.map(({ name }) => widthOf(plainLine(name))));
  session.print(...agents.flatMap((agent) => lines(agent, session, width)));
  return 0;
}

/** An agent in a few lines: what is there of it, what it speaks and under which licence, what to do. */
function lines(agent: AgentView, { palette, columns }: Session, width: number): string[] {
  const [mark, paint] =
    agent.state === 'ready'
      ? (['ok', palette.good] as const)
      : agent.state === 'missing' || agent.state === 'installing'
        ? (['-', palette.dim] as const)
        : (['fail', palette.bad] as const);
  const indent = ' '.repeat(width + 8);
  const speaks = agent.dialects === null ? [] : [`speaks ${agent.dialects.join(', ')}`];
  const helpers = Object.keys(agent.helper_models ?? {});
  const facts = [
    ...speaks,
    ...(helpers.length === 0 ? [] : [`also asks for ${helpers.join(', ')}`]),
    ...(agent.licence === null ? [] : [agent.licence]),
  ];
  const body = [
    standing(agent),
    ...(facts.length === 0 ? [] : [facts.join(' · ')]),
    ...(agent.hint === null ? [] : [agent.hint]),
  ];
  return body
    .flatMap((part) => wrap(plainLine(part), Math.max(20, columns - indent.length)))
    .map((line, place) =>
      place === 0 ? `${paint(mark.padEnd(4))}  ${pad(plainLine(agent.name), width)}  ${line}` : indent + line,
    );
}

function standing({ state, from, version, message, package: wanted }: AgentView): string {
  const which = version ?? 'version unknown';
  switch (state) {
    case 'installing':
      return `is being installed (${wanted ?? ''})`;
    case 'failed':
      return `could not be installed: ${message ?? ''}`;
    case 'missing':
    case 'other_version':
    case 'unsupported':
      return message ?? state;
    case 'ready':
      break;
  }
  switch (from) {
    case 'builtin':
      return `${which}, part of AIdeator`;
    case 'installed':
      return `${which}, installed`;
    case 'path':
      return `${which}, on the PATH${wanted === null || wanted.endsWith(`@${which}`) ? '' : ` (known to work: ${wanted.slice(wanted.lastIndexOf('@') + 1)})`}`;
    case 'image':
      return 'as the image of the attempts has it';
    case 'configuration':
    case null:
      return version === null
        ? 'by its command in the configuration'
        : `${version}, by its command in the configuration`;
  }
}

/** `aideator agents install`: one after the other; each is whole or not there. */
export async function installAgents(
  session: Session,
  names: string[],
  { force = false }: { force?: boolean },
): Promise<number> {
  const client = await session.connectUpToDate();
  const installed: AgentView[] = [];
  for (const name of names) {
    const started = session.io.now();
    const before = await client.agent(name);
    if (before.licence !== null) session.remark(`${before.name}: ${plainLine(before.licence)}.`);
    let view = await client.installAgent(name, { force });
    if (view.state === 'installing') {
      session.remark(`Installing ${view.package ?? name} from npm on the machine of the server…`);
      view = await untilInstalled(session, client, name);
    }
    if (view.state !== 'ready')
      throw new AppError('agent_install_failed', view.message ?? `${name} was not installed.`, {
        ...(view.hint === null ? {} : { hint: view.hint }),
      });
    installed.push(view);
    const seconds = Math.round((session.io.now() - started) / 1000);
    if (!session.json)
      session.print(
        `${plainLine(view.name)} ${view.version ?? ''} is installed${seconds < 1 ? '' : ` (${seconds} s)`}.`,
      );
  }
  if (session.json) session.printJson({ agents: installed });
  else session.print('', 'Next:', ...installed.map(({ name }) => `  aideator agents check ${plainLine(name)}`));
  return 0;
}

async function untilInstalled(session: Session, client: Client, name: string): Promise<AgentView> {
  const stop = new AbortController();
  const off = session.io.onSignal(() => stop.abort());
  try {
    for (;;) {
      const view = await client.agent(name);
      if (view.state !== 'installing') return view;
      await sleep(POLL_MS, undefined, { signal: stop.signal });
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new AppError('agent_install_failed', `The installation of ${name} goes on in the server.`, {
      hint: '`aideator agents list` says how it ended.',
    });
  } finally {
    off();
  }
}
