import { describe, expect, it } from 'vitest';
import type { EnvelopeType } from '../contract/envelope.ts';
import { frameOf } from '../contract/event.ts';
import { noSecrets } from '../../test/support/secrets.ts';
import { eventOf } from './stream.ts';

const attempt = { runNo: 1, runId: 'run', variation: 0, attempt: 2, attemptId: 'a', attemptNo: 9, model: 'm/n' };
const event = (type: EnvelopeType, data: string) =>
  eventOf(
    attempt,
    { attempt: 'a', seq: 4, span: 2, ts: '2026-01-01T00:00:00.000Z', type, data },
    noSecrets().cleaner(),
  );
const update = (value: object) =>
  JSON.stringify({ jsonrpc: '2.0', method: 'session/update', params: { sessionId: 's', update: value } });

describe('eventOf', () => {
  it('keeps the ACP message verbatim and reads kind and content from it', () => {
    const data = `{"jsonrpc": "2.0","method":"session/update","params":{"update":{"sessionUpdate":"agent_thought_chunk","content":{"type":"text","text":"h\\u00fc 1.0"}},"n":1.0}}`;
    const made = event('acp', data);
    expect(made).toMatchObject({ run: 1, variation: 0, attempt: 9, seq: 4, span: 2, type: 'agent_output' });
    expect(made.data.endsWith(`,"message":${data}}`)).toBe(true);
    expect(JSON.parse(made.data)).toMatchObject({
      run_id: 'run',
      variation_id: 0,
      attempt: 2,
      seq: 4,
      kind: 'agent_thought_chunk',
      content: 'hü 1.0',
    });
  });

  it.each([
    [update({ sessionUpdate: 'tool_call', title: 'npm test' }), 'tool_call', 'npm test'],
    [update({ sessionUpdate: 'plan', entries: [] }), 'plan', null],
    [update({ sessionUpdate: 'notice', message: 'retrying' }), 'notice', 'retrying'],
    [update({ sessionUpdate: 'notice', severity: 'warning', title: 'trying again' }), 'notice', 'trying again'],
    ['{"jsonrpc":"2.0","id":1,"result":{}}', 'acp', null],
  ])('reads %s', (data, kind, content) => {
    expect(JSON.parse(event('acp', data).data)).toMatchObject({ kind, content });
  });

  it('makes an error of a JSON-RPC error and of the recorder’s error notes, and of nothing that an agent prints', () => {
    const error = event(
      'acp',
      '{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"Internal","data":{"message":"no key"}}}',
    );
    expect([error.type, JSON.parse(error.data).content]).toEqual(['agent_error', 'no key']);
    expect(event('note', '{"code":"agent_missing","message":"no such program"}').type).toBe('agent_error');
    expect(event('note', '{"code":"recorder_started","message":"hello"}').type).toBe('agent_output');
    expect(event('unparsed', '{"text":"{\\"type\\":\\"eof\\"}"}').type).toBe('agent_output');
    expect(event('stderr', '{"code":"agent_missing","text":"x"}').type).toBe('agent_output');
  });

  it.each(['acp_sent', 'note', 'result', 'stderr'])('an agent cannot call what it says %s', (kind) => {
    const data = JSON.stringify({
      jsonrpc: '2.0',
      method: 'session/prompt',
      params: { update: { sessionUpdate: kind } },
    });
    expect(JSON.parse(event('acp', data).data)).toMatchObject({ kind: 'acp' });
  });

  it('lets no line break of the agent’s into the frame: it would end the field and begin one of the agent’s own', () => {
    const made = event('acp', '{"jsonrpc":"2.0",\r\r"method":"x"\n}');
    expect(frameOf(1, made.type, made.data).match(/[\r\n]/g)).toHaveLength(4);
    expect(JSON.parse(made.data).message).toEqual({ jsonrpc: '2.0', method: 'x' });
  });
});

it('takes secrets out, also where a recorder let them through letter by letter, and nothing else', () => {
  const secret = `ghp_${'aB3d'.repeat(9)}`;
  const cleaner = noSecrets().cleaner();
  const said = [...`it is ${secret} there`].map((text) => {
    const data = update({ sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } });
    const { data: event } = eventOf(
      attempt,
      { attempt: 'a', seq: 1, span: 1, ts: '2026-01-01T00:00:00.000Z', type: 'acp', data },
      cleaner,
    );
    return JSON.parse(event) as { content: string; message: { params: { update: { content: { text: string } } } } };
  });
  const text = said.map(({ content }) => content).join('');
  expect(text).toMatch(/^it is ghp_[a-zA-Z0-9]{0,8}\[redacted: github token\] there$/);
  expect(said.map(({ message }) => message.params.update.content.text).join('')).toBe(text);
  expect(JSON.parse(event('stderr', JSON.stringify({ text: `x ${secret}` })).data)).toMatchObject({
    content: 'x [redacted: github token]',
    message: { text: 'x [redacted: github token]' },
  });
});
