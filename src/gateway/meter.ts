import { createParser } from 'eventsource-parser';
import type { Dialect } from './dialect.ts';
import { anthropicReader } from './readers/anthropic.ts';
import { geminiReader } from './readers/gemini.ts';
import { openaiReader } from './readers/openai.ts';
import type { Reader } from './readers/reader.ts';
import { responsesReader } from './readers/responses.ts';
import type { Metered } from './usage.ts';

/** Listens to an answer's bytes as they pass. */
export interface Meter {
  feed(chunk: Uint8Array): void;
  /** Whether the bytes so far end where an event of the stream ends. */
  atBoundary(): boolean;
  end(): Metered;
}

/** An event, or an answer that is not a stream, beyond this many characters is passed on but not read. */
const MAX_READ = 32 * 1024 * 1024;

const readers: Readonly<Record<Dialect, () => Reader>> = {
  anthropic: anthropicReader,
  openai: openaiReader,
  responses: responsesReader,
  gemini: geminiReader,
};

/** A meter for one answer: of server-sent events where `stream`, else of one JSON body. */
export function createMeter(dialect: Dialect, stream: boolean): Meter {
  const reader = readers[dialect]();
  return stream ? streamMeter(reader) : bodyMeter(reader);
}

function streamMeter(reader: Reader): Meter {
  const decoder = new TextDecoder();
  let readable = true;
  let tail = '';
  const parser = createParser({
    maxBufferSize: MAX_READ,
    onEvent: ({ data }) => reader.read(data, false),
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') readable = false;
    },
  });
  return {
    feed(chunk) {
      const text = decoder.decode(chunk, { stream: true });
      tail = (tail + text.slice(-4)).slice(-4);
      if (readable) parser.feed(text);
    },
    atBoundary: () => tail === '' || /(?:\n\n|\r\r|\r\n\r\n)$/.test(tail),
    end: () => reader.result(),
  };
}

function bodyMeter(reader: Reader): Meter {
  const chunks: Uint8Array[] = [];
  let size = 0;
  return {
    feed(chunk) {
      size += chunk.length;
      if (size <= MAX_READ) chunks.push(chunk);
      else chunks.length = 0;
    },
    atBoundary: () => false,
    end() {
      if (size <= MAX_READ) reader.read(Buffer.concat(chunks).toString('utf8'), true);
      return reader.result();
    },
  };
}
