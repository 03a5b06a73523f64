import { errorBody, errorEvent } from '../dialect.ts';
import { idOf, type Beat, type Counted } from './beats.ts';
import type { Conversation } from './conversation.ts';
import type { Turn } from './script.ts';

/** Gemini: an answer as chunks, each with a part and the usage so far; a call of a tool comes whole. */

type Part = Record<string, unknown>;

/** As server-sent events. */
export async function* streamGemini(
  beats: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): AsyncGenerator<string> {
  const frame = (parts: Part[], finish?: string): string =>
    `data: ${JSON.stringify(answer(conversation, parts, finish, counted))}\r\n\r\n`;
  for await (const part of partsOf(beats, turn)) {
    if ('error' in part) {
      yield errorEvent('gemini', part.error);
      return;
    }
    yield frame([part.part]);
  }
  yield frame([{ text: '' }], finishReason(turn));
}

/** As one JSON body. */
export async function bodyGemini(
  beats: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): Promise<string> {
  const parts: Part[] = [];
  for await (const part of partsOf(beats, turn)) {
    if ('error' in part) return errorBody('gemini', part.error);
    const last = parts.at(-1);
    const { text, thought } = part.part;
    if (typeof last?.['text'] === 'string' && typeof text === 'string' && last['thought'] === thought)
      last['text'] += text;
    else parts.push(part.part);
  }
  return JSON.stringify(answer(conversation, parts, finishReason(turn), counted));
}

async function* partsOf(
  beats: AsyncIterable<Beat>,
  turn: Turn,
): AsyncGenerator<{ part: Part } | { error: Extract<Beat, { type: 'error' }> }> {
  let call: { id: string; name: string; input: string } | null = null;
  let calls = 0;
  for await (const beat of beats) {
    switch (beat.type) {
      case 'error':
        yield { error: beat };
        return;
      case 'thinking':
        yield { part: { text: beat.delta, thought: true } };
        break;
      case 'text':
        yield { part: { text: beat.delta } };
        break;
      case 'tool':
        call = { id: beat.id, name: beat.name, input: '' };
        break;
      case 'input': {
        if (call === null) break;
        call.input += beat.delta;
        const args = (turn.tools ?? [])[calls]?.input ?? {};
        if (call.input.length < JSON.stringify(args).length) break;
        calls++;
        yield { part: { functionCall: { id: call.id, name: call.name, args } } };
        call = null;
        break;
      }
    }
  }
}

function answer(
  conversation: Conversation,
  parts: readonly Part[],
  finish: string | undefined,
  counted: Counted | null,
): Record<string, unknown> {
  return {
    candidates: [
      { content: { role: 'model', parts }, index: 0, ...(finish === undefined ? {} : { finishReason: finish }) },
    ],
    ...(counted === null ? {} : { usageMetadata: usageOf(counted) }),
    modelVersion: conversation.model,
    responseId: idOf('gen', conversation),
  };
}

function usageOf({ input, output, cacheRead, cacheWrite }: Counted): Record<string, number> {
  const prompt = input + cacheRead + cacheWrite;
  return {
    promptTokenCount: prompt,
    candidatesTokenCount: output,
    totalTokenCount: prompt + output,
    ...(cacheRead === 0 ? {} : { cachedContentTokenCount: cacheRead }),
  };
}

function finishReason(turn: Turn): string {
  if (turn.stop === 'length') return 'MAX_TOKENS';
  return turn.stop === 'refusal' ? 'SAFETY' : 'STOP';
}
