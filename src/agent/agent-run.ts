import { setTimeout as wait } from 'node:timers/promises';
import type { AttemptSpec } from '../contract/attempt.ts';
import { toAppError } from '../errors.ts';
import { connectAcp, type AcpClient } from './acp-client.ts';
import { createAgentOutput, type AgentOutput } from './agent-output.ts';
import { AgentMissing, type AgentProcess } from './agent-process.ts';
import { agentEnvironment, agentWords, replaceWords } from './child-env.ts';
import { converse, type Conversation } from './conversation.ts';
import { watchDisk } from './disk-usage.ts';
import { endingOfExit, type Ending } from './end-words.ts';
import type { Journal } from './journal.ts';
import { createPermissionAnswers } from './permission/answers.ts';
import type { Place } from './place.ts';
import type { NextPrompt } from './prompts.ts';
import { writeSettings } from './settings-files.ts';
import { watchSilence } from './silence.ts';
import type { Stop, StopRequest } from './stop-request.ts';

/** How long things may take on the way to the end (ms). */
export interface Graces {
  /** From ACP's cancel to SIGTERM. */
  cancelMs: number;
  /** From SIGTERM to SIGKILL. */
  terminateMs: number;
  /** From the end of the turn, and of its stdin, until an agent is told to go. */
  leaveMs: number;
  /** Between two looks at the disk. */
  diskMs: number;
}

export interface AgentRun {
  spec: AttemptSpec;
  place: Place;
  version: string;
  baseUrl: string;
  journal: Journal;
  stop: StopRequest;
  graces: Graces;
}

export interface AgentRunEnd extends Ending {
  /** When its first message came (ms, of `performance.now()`). */
  firstMessageAt: number | null;
  /** Whether nothing of it runs any more, for certain. */
  gone: boolean;
}

/** Starts the agent, lets it work, and leaves nothing of it running: however it ends, that is the result. */
export async function runAgent(run: AgentRun): Promise<AgentRunEnd> {
  const { spec, place, journal } = run;
  const { paths } = place;
  const words = agentWords(spec, paths, run.baseUrl);
  try {
    await writeSettings(paths.home, spec.agent.files, words);
  } catch (error) {
    const message = `The agent's settings could not be written: ${error instanceof Error ? error.message : String(error)}`;
    journal.note('setup_failed', message);
    return { reason: 'setup_failed', message, exit: null, firstMessageAt: null, gone: true };
  }
  const command = spec.agent.command.map((word) => replaceWords(word, words));
  let agent: AgentProcess;
  try {
    agent = await place.start(command, {
      cwd: paths.workspace,
      env: agentEnvironment(place.agentEnv, spec, paths, run.baseUrl),
      baseUrl: run.baseUrl,
    });
  } catch (error) {
    if (!(error instanceof AgentMissing)) throw error;
    journal.note('agent_missing', error.message);
    return { reason: 'agent_missing', message: error.message, exit: null, firstMessageAt: null, gone: true };
  }
  if (agent.warning !== undefined) journal.note('agent_not_apart', agent.warning);
  let gone = false;
  let end;
  try {
    end = await attend(run, agent);
  } finally {
    agent.signal('SIGKILL');
    gone = (await place.killRest()) !== null;
  }
  return { ...end, gone };
}

async function attend(run: AgentRun, agent: AgentProcess): Promise<Omit<AgentRunEnd, 'gone'>> {
  const { spec, place, journal, stop } = run;
  const { limits } = spec;
  let client: AcpClient | null = null;
  const { paths } = place;
  const permissions = createPermissionAnswers(journal, paths);
  const output = createAgentOutput({
    journal,
    maxBytes: limits.max_output_bytes,
    onMessage: (message) => client?.receive(message),
    onUpdate: permissions.heard,
    onLimit: () => stop.ask('output_limit', `The agent printed more than ${limits.max_output_bytes} bytes.`),
    ready: () => client?.ready() ?? null,
  });
  const disk = watchDisk({
    folders: [paths.workspace, paths.home, paths.tmp],
    more: () => journal.bytes,
    maxBytes: limits.max_disk_bytes,
    onLimit: (bytes) => stop.ask('disk_limit', `Its files take ${bytes} bytes; ${limits.max_disk_bytes} are allowed.`),
    intervalMs: run.graces.diskMs,
  });
  client = await connectAcp({
    stdin: agent.stdin,
    onSend: (text) => journal.append('acp_sent', text),
    gone: agent.exited,
    permit: permissions.answer,
  });
  /** The number of the last prompt that was taken. */
  let taken = 0;
  const reading = output.read(agent.stdout, agent.stderr);
  const conversation = converse(client.agent, {
    cwd: paths.workspace,
    mode: spec.agent.mode,
    prompt: spec.prompt,
    version: run.version,
    next: () => nextPrompt(place, taken, stop, journal),
    onNext: ({ no }) => {
      taken = no;
      // Before it is sent: the server has it from here that it need not be given again.
      journal.note('prompt_taken', `The agent’s turn has ended; prompt ${no} is the next.`, { prompt_id: no });
    },
  });
  const silence = watchSilence({ output: output.counts, conversation, limits, ask: stop.ask });
  try {
    const first = await Promise.race([
      conversation.turn.then((ending) => ({ kind: 'turn' as const, ending })),
      agent.exited.then((exit) => ({ kind: 'exit' as const, exit })),
      stop.wait.then((asked) => ({ kind: 'stop' as const, asked })),
    ]);
    const ending = await end(first);
    return { ...ending, firstMessageAt: output.counts.firstMessageAt };
  } finally {
    silence.stop();
    disk.stop();
    client.close();
    await drain(reading, agent, output, place, journal);
  }

  async function end(
    first: { kind: 'turn'; ending: Omit<Ending, 'exit'> } | { kind: 'exit' } | { kind: 'stop'; asked: Stop },
  ): Promise<Ending> {
    switch (first.kind) {
      case 'turn': {
        const exit = await leave(agent, run.graces);
        if (first.ending.reason === 'protocol_error') journal.note('protocol_error', first.ending.message ?? '');
        return { ...first.ending, exit };
      }
      case 'exit': {
        const exit = await agent.exited;
        // Its children may hold the pipes open: what it had said itself is in them already.
        agent.signal('SIGKILL');
        await noteStragglers(place, journal);
        await Promise.race([reading, wait(2000)]);
        // Its answer may have been the last thing it said.
        const answered = await Promise.race([conversation.turn, wait(100, null)]);
        if (answered !== null) return { ...answered, exit };
        const ending = endingOfExit(exit, conversation.phase, output.stderrTail());
        journal.note(ending.reason, ending.message ?? '', { exit_code: exit.code, signal: exit.signal });
        return ending;
      }
      case 'stop':
        await stopAgent(first.asked, agent, conversation, journal, run.graces);
        return { ...first.asked, exit: null };
    }
  }
}

/** What is to be the next turn; null where nothing waits, or the attempt is to stop. */
async function nextPrompt(
  place: Place,
  after: number,
  stop: StopRequest,
  journal: Journal,
): Promise<NextPrompt | null> {
  if (stop.asked !== null) return null;
  try {
    return await Promise.race([place.prompts.next(after, stop.signal), stop.wait.then(() => null)]);
  } catch (error) {
    journal.note('prompts_unknown', `What was to be done next could not be asked: ${toAppError(error).message}`);
    return null;
  }
}

/** The turn is over: an agent goes when its stdin ends, or is made to. Its exit where it went by itself. */
async function leave(agent: AgentProcess, graces: Graces): Promise<Ending['exit']> {
  agent.stdin.end();
  await Promise.race([agent.exited, wait(graces.leaveMs)]);
  const exit = agent.exit;
  if (exit === null) await agent.terminate(graces.terminateMs);
  return exit;
}

/** ACP's cancel, then SIGTERM, then SIGKILL, each after its grace. */
async function stopAgent(
  asked: Stop,
  agent: AgentProcess,
  conversation: Conversation,
  journal: Journal,
  graces: Graces,
): Promise<void> {
  const code = asked.message === null ? 'stopping' : 'limit_reached';
  journal.note(code, asked.message ?? `The attempt is being stopped: ${asked.reason}.`, { reason: asked.reason });
  if (await conversation.cancel()) await Promise.race([conversation.turn, agent.exited, wait(graces.cancelMs)]);
  if (agent.exit === null) {
    agent.stdin.end();
    await agent.terminate(graces.terminateMs);
  }
}

/** Nothing of the agent is left; what is in the pipes is read to the end. */
async function drain(
  reading: Promise<void>,
  agent: AgentProcess,
  output: AgentOutput,
  place: Place,
  journal: Journal,
): Promise<void> {
  agent.signal('SIGKILL');
  await noteStragglers(place, journal);
  await Promise.race([reading, wait(2000)]);
  // Somebody who escaped holds them: they are closed on our side.
  agent.stdin.destroy();
  agent.stdout.destroy();
  agent.stderr.destroy();
  await reading;
  if (output.counts.dropped > 0) {
    journal.note('output_dropped', `${output.counts.dropped} bytes that came after the limit were not kept.`, {
      bytes: output.counts.dropped,
    });
  }
}

export async function noteStragglers(place: Place, journal: Journal): Promise<void> {
  const count = await place.killRest();
  if (count !== null && count > 0)
    journal.note('stragglers_killed', `${count} processes that the agent had left running were killed.`, { count });
}
