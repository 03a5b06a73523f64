import { client, type ClientContext, type AnyMessage, type SessionUpdate } from '@agentclientprotocol/sdk';
import { onTestFinished } from 'vitest';
import { serveAgent } from '../../src/agent/builtin/agent.ts';
import type { Settings } from '../../src/agent/builtin/settings.ts';

export interface TalkingAgent {
  agent: ClientContext;
  sessionId: string;
  updates: SessionUpdate[];
  /** Sends a prompt; its stop reason. */
  prompt(text: string): Promise<string>;
  cancel(): Promise<void>;
  /** What was said, one kind joined. */
  text(kind: 'agent_message_chunk' | 'agent_thought_chunk'): string;
  /** Titles of notices, in order. */
  notices(): string[];
  of<KIND extends SessionUpdate['sessionUpdate']>(kind: KIND): Extract<SessionUpdate, { sessionUpdate: KIND }>[];
  close(): Promise<void>;
}

/** The built-in agent in this process, with a session in a folder, over streams. */
export async function talkToBuiltin(
  cwd: string,
  settings: Partial<Settings> & { baseUrl: string },
): Promise<TalkingAgent> {
  // Closing a connection leaves its streams open: this one is ended by hand, as a pipe is by the end of a process.
  let hangUp = (): void => undefined;
  const toAgent = new TransformStream<AnyMessage, AnyMessage>({
    start: (controller) => {
      hangUp = () => controller.terminate();
    },
  });
  const toClient = new TransformStream<AnyMessage, AnyMessage>();
  const served = serveAgent(
    { readable: toAgent.readable, writable: toClient.writable },
    {
      model: 'tester',
      dialect: 'anthropic',
      maxSteps: 20,
      contextTokens: 150_000,
      thinking: true,
      retryMs: 1,
      stallMs: 20_000,
      ...settings,
    },
    '0.0.0',
  );
  const updates: SessionUpdate[] = [];
  const connection = client()
    .onNotification('session/update', ({ params }) => void updates.push(params.update))
    .connect({ readable: toClient.readable, writable: toAgent.writable });
  const close = async (): Promise<void> => {
    connection.close();
    hangUp();
    await served;
  };
  onTestFinished(close);
  const { agent } = connection;
  await agent.request('initialize', { protocolVersion: 1, clientCapabilities: {} });
  const { sessionId } = await agent.request('session/new', { cwd, mcpServers: [] });
  const of = <KIND extends SessionUpdate['sessionUpdate']>(
    kind: KIND,
  ): Extract<SessionUpdate, { sessionUpdate: KIND }>[] =>
    updates.filter(
      (update): update is Extract<SessionUpdate, { sessionUpdate: KIND }> => update.sessionUpdate === kind,
    );
  return {
    agent,
    sessionId,
    updates,
    of,
    prompt: async (text) =>
      (await agent.request('session/prompt', { sessionId, prompt: [{ type: 'text', text }] })).stopReason,
    cancel: () => agent.notify('session/cancel', { sessionId }),
    text: (kind) =>
      of(kind)
        .map(({ content }) => (content.type === 'text' ? content.text : ''))
        .join(''),
    notices: () => of('notice').map(({ title }) => title),
    close,
  };
}
