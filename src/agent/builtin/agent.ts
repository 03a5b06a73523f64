import { randomUUID } from 'node:crypto';
import { agent, RequestError, type ContentBlock, type SessionUpdate, type Stream } from '@agentclientprotocol/sdk';
import { ModelFailure } from './failure.ts';
import { instructionsFor } from './instructions.ts';
import { openModel, type Model } from './model.ts';
import type { Settings } from './settings.ts';
import { runTurn, type Conversation } from './turn.ts';

interface Session {
  conversation: Conversation;
  /** The turn under way. */
  turn: AbortController | null;
}

/** ACP's code for "authentication required". */
const AUTH_REQUIRED = -32_000;

/**
 * The built-in agent as an ACP v1 agent over a stream of messages.
 *
 * @returns resolves when the connection is closed; what was under way is cancelled then.
 */
export async function serveAgent(stream: Stream, settings: Settings, version: string): Promise<void> {
  const sessions = new Map<string, Session>();
  // Loaded while the client says hello.
  const opening: Promise<Model> = openModel(settings);
  opening.catch(() => undefined);

  function find(sessionId: string): Session {
    const session = sessions.get(sessionId);
    if (session === undefined) throw RequestError.resourceNotFound(sessionId);
    return session;
  }

  const connection = agent({ name: 'aideator' })
    .onRequest('initialize', () => ({
      protocolVersion: 1,
      agentCapabilities: { promptCapabilities: { embeddedContext: true } },
      agentInfo: { name: 'aideator', version },
      authMethods: [],
    }))
    .onRequest('authenticate', () => ({}))
    .onRequest('session/new', async ({ params }) => {
      const sessionId = randomUUID();
      const instructions = await instructionsFor(params.cwd);
      sessions.set(sessionId, {
        conversation: { cwd: params.cwd, instructions, messages: [], countedTokens: null, countedMessages: 0 },
        turn: null,
      });
      return { sessionId };
    })
    .onNotification('session/cancel', ({ params }) => {
      sessions.get(params.sessionId)?.turn?.abort();
    })
    .onRequest('session/prompt', async ({ params, client }) => {
      const { sessionId } = params;
      const session = find(sessionId);
      if (session.turn !== null) throw RequestError.invalidRequest(undefined, 'a turn of this session is under way');
      const turn = new AbortController();
      session.turn = turn;
      const say = (update: SessionUpdate): void => {
        client.notify('session/update', { sessionId, update }).catch(() => turn.abort());
      };
      try {
        const model = await opening;
        const stopReason = await runTurn({
          settings,
          model,
          conversation: session.conversation,
          prompt: promptText(params.prompt),
          signal: turn.signal,
          say,
        });
        return { stopReason };
      } catch (error) {
        if (error instanceof ModelFailure) throw errorOf(error);
        throw error;
      } finally {
        session.turn = null;
      }
    })
    .connect(stream);

  const cancelAll = (): void => {
    for (const { turn } of sessions.values()) turn?.abort();
  };
  await connection.closed.then(cancelAll, cancelAll);
}

function errorOf({ kind, status, message }: ModelFailure): RequestError {
  if (kind === 'auth') return new RequestError(AUTH_REQUIRED, message, { kind: 'provider_auth', status });
  return new RequestError(-32_603, message, { kind: 'provider_error', status, message });
}

/** A prompt as text, byte for byte where it is text. */
function promptText(blocks: readonly ContentBlock[]): string {
  return blocks
    .map((block) => {
      switch (block.type) {
        case 'text':
          return block.text;
        case 'resource_link':
          return block.uri;
        case 'resource':
          return 'text' in block.resource ? `${block.resource.uri}\n${block.resource.text}` : block.resource.uri;
        default:
          return `[${block.type}]`;
      }
    })
    .join('\n');
}
