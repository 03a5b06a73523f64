import { Agent, request } from 'node:http';
import { Connection } from './connection.ts';

/** A run as a client sees it: submitted, and watched from its first event to its end. */

export interface Submission {
  url: string;
  body: object;
  timeoutMs: number;
}

/** Milliseconds since the POST was sent, as the client read it. */
export interface Watched {
  runId: string;
  /** The answer to the POST was there. */
  accepted: number;
  /** The first event of the run was read. */
  firstEvent: number;
  end: number;
  status: string;
  succeeded: number;
  variations: WatchedVariation[];
  /** Events that came out of order, twice or not at all. */
  violations: string[];
}

export interface WatchedVariation {
  /** The recorder's first word. */
  recorder: number;
  /** The workspace is there, the agent was started, and was sent its first message. */
  asked: number;
  /** The first byte that the agent printed. */
  firstByte: number;
  /** The first words of its turn. */
  firstWords: number;
}

interface Frame {
  id: number;
  type: string;
  data: { variation_id?: number; seq?: number | null; kind?: string; status?: string; succeeded?: number };
}

/** One connection that is kept: what a POST costs is asked, not what a handshake costs. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

export async function submitAndWatch({ url, body, timeoutMs }: Submission): Promise<Watched> {
  const start = performance.now();
  const since = () => performance.now() - start;
  const { run_id: runId } = JSON.parse(await post(`${url}/api/v1/runs`, JSON.stringify(body))) as { run_id: string };
  const watched: Watched = {
    runId,
    accepted: since(),
    firstEvent: Number.NaN,
    end: Number.NaN,
    status: 'unknown',
    succeeded: 0,
    variations: [],
    violations: [],
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`the run ${runId} was not over in time`)), timeoutMs);
  const seqs = new Map<number, number>();
  let lastId = 0;
  let rest = '';
  const take = (text: string) => {
    const frames = (rest + text).split('\n\n');
    rest = frames.pop() ?? '';
    for (const each of frames) {
      const frame = parse(each);
      if (frame === null) continue;
      if (frame.id <= lastId) watched.violations.push(`id ${frame.id} came after ${lastId}`);
      lastId = frame.id;
      note(watched, frame, since(), seqs);
    }
  };
  const connection = new Connection({
    url,
    path: `/api/v1/runs/${runId}/stream`,
    // What arrives is ASCII: the bench's own agents say nothing else.
    onBody: (buffer, from, to) => take(buffer.toString('latin1', from, to)),
    onEnd: (error) => (error === null ? resolve() : reject(error)),
  });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    connection.close();
  }
  return watched;
}

function note(watched: Watched, { type, data }: Frame, at: number, seqs: Map<number, number>): void {
  if (Number.isNaN(watched.firstEvent)) watched.firstEvent = at;
  if (type === 'run_complete') {
    watched.end = at;
    watched.status = data.status ?? 'unknown';
    watched.succeeded = data.succeeded ?? 0;
  }
  const { variation_id: index, seq } = data;
  if (index === undefined || typeof seq !== 'number') return;
  const last = seqs.get(index) ?? 0;
  if (seq !== last + 1) watched.violations.push(`variation ${index}: seq ${seq} came after ${last}`);
  seqs.set(index, seq);
  const none = Number.NaN;
  const seen = (watched.variations[index] ??= { recorder: none, asked: none, firstByte: none, firstWords: none });
  const first = (name: keyof WatchedVariation) => {
    if (Number.isNaN(seen[name])) seen[name] = at;
  };
  first('recorder');
  if (data.kind === 'acp_sent') first('asked');
  // Before it is asked anything an agent says nothing; a request of ours is `acp_sent`.
  if (data.kind === 'acp' || data.kind === 'agent_message_chunk') first('firstByte');
  if (data.kind === 'agent_message_chunk') first('firstWords');
}

function parse(text: string): Frame | null {
  const [, id, type, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(text) ?? [];
  if (id === undefined || type === undefined || data === undefined) return null;
  return { id: Number(id), type, data: JSON.parse(data) as Frame['data'] };
}

function post(url: string, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const sent = request(
    url,
    {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    },
    (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => {
        if (response.statusCode === 202) resolve(text);
        else reject(new Error(`the submission was answered ${response.statusCode}: ${text}`));
      });
      response.on('error', reject);
    },
  );
  sent.on('error', reject);
  sent.end(body);
  return promise;
}
