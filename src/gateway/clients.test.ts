import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, isStepCount, streamText, tool, type LanguageModel } from 'ai';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { mountGateway, providerAt, type MountedGateway } from '../../test/support/gateway.ts';
import { startModelServer } from '../../test/support/model-server.ts';
import type { Dialect } from './dialect.ts';
import { createPrices } from './prices.ts';
import { parseScript } from './scripted/script.ts';

const script = parseScript(`
models:
  careful:
    turns:
      - thinking: I should look at the failing test first.
        text: Let me see.
        tools:
          - { name: bash, input: { command: 'npm test -- --reporter "dot"' } }
          - { name: read, input: { path: src/é.ts } }
        usage: { input: 1200, output: 85, cache_read: 300 }
      - first_of:
          - error: { status: 529, times: 1 }
          - thinking: Now I know.
            text: It is mended.
            usage: { input: 1400, output: 20 }
`);

const tools = (ran: string[]) => ({
  bash: tool({
    inputSchema: z.object({ command: z.string() }),
    execute: ({ command }) => (ran.push(command), '1 failing'),
  }),
  read: tool({ inputSchema: z.object({ path: z.string() }), execute: ({ path }) => (ran.push(path), 'text') }),
});

function clientOf(dialect: Dialect, gateway: MountedGateway, model: string): LanguageModel {
  const baseURL = `${gateway.baseUrl}/v1`;
  return dialect === 'anthropic'
    ? createAnthropic({ baseURL, apiKey: 'dummy' })(model)
    : createOpenAICompatible({ name: 'gateway', baseURL, apiKey: 'dummy', includeUsage: true })(model);
}

describe.each(['anthropic', 'openai'] as const)('the AI SDK speaks %s through the gateway', (dialect) => {
  async function mounted(): Promise<MountedGateway> {
    const upstream = await startModelServer(script, { key: 'sk-real' });
    const baseUrl = dialect === 'anthropic' ? upstream.baseUrl : `${upstream.baseUrl}/v1`;
    return mountGateway('p/careful', {
      providers: { p: providerAt(dialect, baseUrl, { key: 'sk-real' }) },
      prices: createPrices({ 'p/careful': { input: 3_000_000, output: 15_000_000, cache_read: 300_000 } }),
    });
  }

  test('and streams thoughts, text, tools and usage over two turns and an overload', async () => {
    const gateway = await mounted();
    const ran: string[] = [];
    const result = streamText({
      model: clientOf(dialect, gateway, 'p/careful'),
      prompt: 'Mend it.',
      tools: tools(ran),
      stopWhen: isStepCount(3),
      maxRetries: 1,
    });
    const seen: Record<string, string[]> = {};
    for await (const part of result.fullStream) {
      if (part.type === 'reasoning-delta' || part.type === 'text-delta') (seen[part.type] ??= []).push(part.text);
      else if (part.type === 'error') throw part.error;
      else (seen[part.type] ??= []).push('');
    }
    expect(seen['reasoning-delta']?.join('')).toBe('I should look at the failing test first.Now I know.');
    expect(seen['reasoning-delta']?.length).toBeGreaterThan(2);
    expect(seen['text-delta']?.join('')).toBe('Let me see.It is mended.');
    expect(seen['tool-input-delta']?.length).toBeGreaterThan(2);
    expect(ran).toEqual(['npm test -- --reporter "dot"', 'src/é.ts']);
    const [first, second] = await result.steps;
    expect(first).toMatchObject({
      finishReason: 'tool-calls',
      usage: { inputTokens: 1500, outputTokens: 85, inputTokenDetails: { cacheReadTokens: 300 } },
    });
    expect(second).toMatchObject({
      finishReason: 'stop',
      text: 'It is mended.',
      usage: { inputTokens: 1400, outputTokens: 20 },
    });
    expect(await gateway.recorded(3)).toMatchObject([
      {
        status: 200,
        tokens: { input: 1200, output: 85, cacheRead: 300 },
        costMicrodollars: 3600 + 1275 + 90,
        error: null,
      },
      { status: 529, costMicrodollars: 0 },
      { status: 200, tokens: { input: 1400, output: 20, cacheRead: 0 }, costMicrodollars: 4200 + 300, error: null },
    ]);
  }, 30_000);

  test('and gets whole answers', async () => {
    const gateway = await mounted();
    const result = await generateText({
      model: clientOf(dialect, gateway, 'careful'),
      prompt: 'Mend it.',
      tools: tools([]),
    });
    expect(result).toMatchObject({
      text: 'Let me see.',
      reasoningText: 'I should look at the failing test first.',
      finishReason: 'tool-calls',
    });
    expect(result.toolCalls.map((call) => call.input)).toEqual([
      { command: 'npm test -- --reporter "dot"' },
      { path: 'src/é.ts' },
    ]);
    expect(await gateway.recorded(1)).toMatchObject([{ tokens: { input: 1200, output: 85 } }]);
  });

  test('and is told in its own words why it may not', async () => {
    const gateway = await mounted();
    const asked = generateText({ model: clientOf(dialect, gateway, 'other'), prompt: 'Mend it.' });
    await expect(asked).rejects.toMatchObject({
      statusCode: 403,
      isRetryable: false,
      message: 'This attempt may use p/careful, not other.',
    });
  });
});
