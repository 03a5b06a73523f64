import type { ClientContext } from '@agentclientprotocol/sdk';
import { endingOfError, endingOfStop, type Ending } from './end-words.ts';
import type { NextPrompt } from './prompts.ts';

/** What is said with an agent: initialize, a session, its mode, a prompt, and whatever is asked for next while it works. */
export interface Conversation {
  /** How the last turn ended, as the agent answered it. Never rejects; stays open where the agent never answers. */
  turn: Promise<Omit<Ending, 'exit'>>;
  /** What is going on, in words. */
  readonly phase: string;
  /** When the last prompt was sent (ms, of `performance.now()`); null before. Between two turns it is now: nobody keeps silent then. */
  readonly promptedAt: number | null;
  /** Asks the agent to end its turn, and has no other follow; false where it has no session that could be told. */
  cancel(): Promise<boolean>;
}

export interface ConversationOptions {
  cwd: string;
  mode: string | null;
  prompt: string;
  version: string;
  /** Asked when a turn has ended: what is to be the next; null = the attempt is over. Never rejects. */
  next(): Promise<NextPrompt | null>;
  /** A prompt is about to be sent. */
  onNext(prompt: NextPrompt): void;
}

const PROTOCOL_VERSION = 1;

/** Ends of a turn after which the session can go on. */
const GOES_ON: ReadonlySet<Ending['reason']> = new Set(['end_turn', 'max_tokens', 'max_turns', 'refusal']);

export function converse(agent: ClientContext, options: ConversationOptions): Conversation {
  let phase = 'initialize';
  let promptedAt: number | null = null;
  let isBetween = false;
  let isCancelled = false;
  let sessionId: string | null = null;

  async function talk(): Promise<Omit<Ending, 'exit'>> {
    const { protocolVersion } = await agent.request('initialize', {
      protocolVersion: PROTOCOL_VERSION,
      clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
      clientInfo: { name: 'aideator', version: options.version },
    });
    if (protocolVersion !== PROTOCOL_VERSION) {
      return {
        reason: 'protocol_error',
        message: `The agent speaks ACP version ${JSON.stringify(protocolVersion)}; this is a client of version ${PROTOCOL_VERSION}.`,
      };
    }
    phase = 'session/new';
    const session = await agent.request('session/new', { cwd: options.cwd, mcpServers: [] });
    if (options.mode !== null) {
      phase = 'session/set_mode';
      await agent.request('session/set_mode', { sessionId: session.sessionId, modeId: options.mode });
    }
    ({ sessionId } = session);
    phase = 'its turn';
    for (let { prompt } = options; ;) {
      isBetween = false;
      promptedAt = performance.now();
      const { stopReason } = await agent.request('session/prompt', {
        sessionId: session.sessionId,
        prompt: [{ type: 'text', text: prompt }],
      });
      const ending = endingOfStop(stopReason);
      if (isCancelled || !GOES_ON.has(ending.reason)) return ending;
      isBetween = true;
      const next = await options.next();
      if (next === null || isCancelled) return ending;
      options.onNext(next);
      prompt = next.text;
    }
  }

  const turn = talk().catch(async (error: unknown): Promise<Omit<Ending, 'exit'>> => {
    const { code, data, message } = error as { code?: unknown; data?: unknown; message?: unknown };
    // The connection was closed: whoever closed it knows why, and this is no answer.
    if (typeof code !== 'number') return new Promise(() => undefined);
    const ending = endingOfError({ code, message, data });
    return phase === 'its turn' ? ending : { ...ending, message: `${phase}: ${ending.message}` };
  });

  return {
    turn,
    get phase() {
      return phase;
    },
    get promptedAt() {
      return isBetween ? performance.now() : promptedAt;
    },
    cancel: async () => {
      isCancelled = true;
      if (sessionId === null) return false;
      await agent.notify('session/cancel', { sessionId }).catch(() => undefined);
      return true;
    },
  };
}
