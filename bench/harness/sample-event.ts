import { sharedMicros } from './clock.ts';

/** An event as an agent causes it: its frame is about 250 bytes long. */
export interface SampleEvent {
  run_id: string;
  variation_id: number;
  attempt: number;
  seq: number;
  /** When it was appended: {@link sharedMicros}. */
  t: number;
  kind: string;
  content: string;
}

const WORDS = 'The test fails because the parser reads the last line twice; I will look at the loop that';

export function sampleEvents(firstSeq: number, count: number): SampleEvent[] {
  const t = sharedMicros();
  return Array.from({ length: count }, (_, index) => ({
    run_id: 'k3xyzabcde',
    variation_id: 0,
    attempt: 0,
    seq: firstSeq + index,
    t,
    kind: 'agent_message_chunk',
    content: WORDS,
  }));
}
