import { describe, expect, it } from 'vitest';
import type { EnvelopeType } from '../../contract/envelope.ts';
import { createFinder } from '../../redaction/finder.ts';
import { printsOf } from '../../redaction/prints.ts';
import { until } from '../../../test/support/until.ts';
import type { Journal } from '../journal.ts';
import { redacted } from './redacting-journal.ts';

const KEY = 'canary-0Zq81x9AbCdEf0123456789q';
const finder = createFinder([printsOf([{ value: KEY, what: 'key of p' }])]);

interface Written {
  type: EnvelopeType;
  data: string;
}

/** A journal that keeps what is written to it, behind the one under test. */
function scene(): { journal: Journal; written: Written[]; texts(): string[]; notes(): unknown[] } {
  const written: Written[] = [];
  const inner: Journal = {
    bytes: 0,
    seq: 0,
    full: false,
    append: (type, data) => void written.push({ type, data }),
    note: (code, message, facts) => inner.append('note', JSON.stringify({ code, message, ...facts })),
    heartbeat: () => undefined,
    drained: () => Promise.resolve(),
    close: (word) => Promise.resolve({ lastSeq: 1, sha256: '', ...word }),
  };
  const parsed = (type: EnvelopeType) =>
    written.filter((each) => each.type === type).map(({ data }) => JSON.parse(data) as Record<string, never>);
  return {
    journal: redacted(inner, finder),
    written,
    texts: () =>
      parsed('acp').flatMap(
        ({ params }: { params?: { update?: { content?: { text?: string } } } }) => params?.update?.content?.text ?? [],
      ),
    notes: () => parsed('note'),
  };
}

const chunk = (text: string, sessionUpdate = 'agent_message_chunk'): string =>
  JSON.stringify({
    jsonrpc: '2.0',
    method: 'session/update',
    params: { sessionId: 's', update: { sessionUpdate, content: { type: 'text', text } } },
  });
const tool = (update: object): string =>
  JSON.stringify({
    jsonrpc: '2.0',
    method: 'session/update',
    params: { sessionId: 's', update: { sessionUpdate: 'tool_call_update', toolCallId: 't1', ...update } },
  });
const answer = '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}';
const say = (journal: Journal, text: string): void => journal.append('acp', text, JSON.parse(text));

describe('a redacting journal', () => {
  it('writes messages verbatim and in order, whatever their texts end with', () => {
    const { journal, written } = scene();
    const lines = [
      `{ "jsonrpc":"2.0","method":"session/update", "params":{"sessionId":"s","update":{"sessionUpdate":"agent_thought_chunk","content":{"type":"text","text":"h\\u00fc 1.0 implementation"}},"n":1.0}}`,
      chunk('of something', 'agent_thought_chunk'),
      chunk('ordinary/words.without-an-end'),
      chunk('-and-more', 'agent_message_chunk'),
      tool({ status: 'in_progress', content: [{ type: 'content', content: { type: 'text', text: 'x' } }] }),
      chunk('averylongwordindeed'),
      answer,
    ];
    for (const line of lines) say(journal, line);
    expect(written.map(({ data }) => data)).toEqual(lines);
  });

  it('takes out a key that is said letter by letter, and notes once where', () => {
    const { journal, texts, notes, written } = scene();
    for (const letter of `it is ${KEY} ok`) say(journal, chunk(letter));
    for (const letter of `and ${KEY}`) say(journal, chunk(letter));
    say(journal, answer);
    expect(texts().join('')).toBe('it is canary-[redacted: key of p] okand canary-[redacted: key of p]');
    expect(texts()).toHaveLength(`it is ${KEY} okand ${KEY}`.length);
    expect(notes()).toEqual([
      {
        code: 'secret_redacted',
        message: 'A secret was left out (key of p), first here in what is of kind agent_message_chunk.',
        what: 'key of p',
        where: 'agent_message_chunk',
      },
    ]);
    expect(written.at(-1)?.data).toBe(answer);
  });

  it('loses nothing that waits: not at the end, not behind a note, not where the agent falls silent', async () => {
    const { journal, texts, written } = scene();
    say(journal, chunk('implementation'));
    expect(texts()).toEqual([]);
    journal.note('stopping', 'x');
    expect(written.map(({ type }) => type)).toEqual(['acp', 'note']);
    say(journal, chunk('implementation'));
    await until(() => texts().length === 2);
    say(journal, chunk(`half of it: ${KEY.slice(0, 20)}`));
    const eof = await journal.close({
      reason: 'agent_exit',
      message: `It said: ${KEY}`,
      exit: null,
      timings: { workspace_ms: null, first_message_ms: null, total_ms: 0 },
    });
    expect(texts().at(-1)).toBe('half of it: [redacted: key of p]');
    expect(eof.message).toBe('It said: [redacted: key of p]');
  });

  it('follows what a tool prints, piece by piece and from the start each time', () => {
    const { journal, written } = scene();
    const output = (text: string): string => tool({ content: [{ type: 'content', content: { type: 'text', text } }] });
    const whole = `$ env\nKEY=${KEY}\nnext`;
    for (let end = 1; end <= whole.length; end += 5) say(journal, output(whole.slice(0, end)));
    say(journal, tool({ rawOutput: { delta: `a ${KEY.slice(0, 18)}` } }));
    say(journal, tool({ rawOutput: { delta: `${KEY.slice(18)} b` } }));
    const text = written.map(({ data }) => data).join('\n');
    expect(text).not.toContain(KEY.slice(0, 16));
    expect(text).not.toContain(KEY.slice(-12));
    expect(text).toContain('KEY=[redacted: key of p]\\nn');
    expect(text).toContain('{"delta":" b"}');
  });

  it('looks through all else: what is printed beside, over lines; what is sent; names, deep and doubled', () => {
    const { journal, written } = scene();
    journal.append('stderr', JSON.stringify({ text: `a\n${KEY}\n` }));
    journal.append('stderr', JSON.stringify({ base64: Buffer.from(`\u00ff${KEY}`, 'latin1').toString('base64') }));
    const pem = ['-----BEGIN PRIVATE KEY-----', 'aB3/'.repeat(16), 'cD4+'.repeat(16), '-----END PRIVATE KEY-----'];
    for (const text of pem) journal.append('unparsed', JSON.stringify({ text }));
    journal.append('acp_sent', JSON.stringify({ prompt: `use ${KEY}` }));
    say(journal, JSON.stringify({ jsonrpc: '2.0', method: 'x', params: { [KEY]: [[{ a: KEY }]] } }));
    say(journal, `{"jsonrpc":"2.0","method":"x","params":{"a":"${KEY}","a":1}}`);
    const deep = `{"jsonrpc":"2.0","method":"x","params":${'['.repeat(5000)}"${KEY}"${']'.repeat(5000)}}`;
    say(journal, deep);
    const nested = `${'['.repeat(5000)}1${']'.repeat(5000)}`;
    say(journal, chunk(`${KEY} `).replace('"jsonrpc"', `"deep":${nested},"jsonrpc"`));
    say(journal, tool({ rawOutput: KEY }).replace('"jsonrpc"', `"deep":${nested},"jsonrpc"`));
    for (const update of ['null', '[]', '"x"', '{"sessionUpdate":"agent_message_chunk","content":null}'])
      say(journal, `{"jsonrpc":"2.0","method":"session/update","params":{"update":${update}}}`);
    const all = written.map(({ data }) => data).join('\n');
    expect(all).not.toContain(KEY);
    expect(all).not.toContain('aB3/aB3/');
    expect(all).not.toContain('cD4+cD4+');
    const bytes = JSON.parse(written.find(({ data }) => data.includes('base64'))?.data ?? '') as { base64: string };
    expect(Buffer.from(bytes.base64, 'base64').toString('latin1')).toBe('\u00ff[redacted: key of p]');
    expect(written.find(({ type }) => type === 'acp_sent')?.data).toBe('{"prompt":"use [redacted: key of p]"}');
  });
});
