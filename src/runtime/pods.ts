import type { Readable } from 'node:stream';
import type { LinkMessage, ResultState } from '../contract/attempt-door.ts';

/**
 * The server's end of attempts that run in pods: what their recorders say, by whatever way it comes, is gathered in a journal of
 * the server's own (dense, in order, each line once), which is then followed as a local attempt's is.
 */
export interface Pods {
  /**
   * Makes the server's journal of an attempt, or finds it again with all it holds. Idempotent.
   *
   * @param podUid the pod that has claimed the attempt, where a former server knew it
   */
  open(attemptId: string, podUid: string | null): Promise<Intake>;
  get(attemptId: string): Intake | undefined;
  /** The attempt is over: lines and links are refused from now on, and what waits is let go. Files stay. */
  close(attemptId: string): Promise<void>;
  /** Removes the attempt's files. */
  remove(attemptId: string): Promise<void>;
  /** Attempts that have files here. */
  list(): Promise<string[]>;
  /** Where an attempt's uploaded patch lies, once it is whole. */
  patchFile(attemptId: string): string;
}

/** One attempt's way in. */
export interface Intake {
  /** The server's journal: followed by `followJournal`. */
  readonly journal: string;
  /** Every line up to this seq is in the journal. */
  readonly have: number;
  /** The highest seq that was seen in any line; more than `have` where lines are missing in between. */
  readonly seen: number;
  /** Whether the last word (`eof`) is in the journal. */
  readonly ended: boolean;
  readonly podUid: string | null;
  /** When the recorder was last heard of by any way (ms since the epoch); null = never. Heartbeats count. */
  readonly heardAt: number | null;
  /** Links that are open: 0 or 1, but for moments. */
  readonly links: number;
  /** The first pod that asks is the attempt's; true where it is this one. Stored before it is answered. */
  claim(podUid: string): Promise<boolean>;
  /**
   * Takes one line of the pod's log, LF left off. A line that is not an envelope of this attempt is false, and nothing else happens;
   * one whose number is known is read over; one with numbers missing before it waits beside the journal, and the recorder is asked.
   */
  offer(line: Buffer): boolean;
  /** Takes whole lines that the recorder uploaded; resolves with {@link have} once they are written. */
  lines(body: Buffer): Promise<number>;
  /** Listens to what the recorder is to be told: at once what is so, then every change. Returns the way to end it. */
  link(onMessage: (message: LinkMessage) => void): () => void;
  /** To be told to the recorder, now or when it links. The first reason stands. */
  stop(reason: NonNullable<LinkMessage['stop']>): void;
  /** What is there of an upload. */
  resultState(sha256: string): Promise<ResultState>;
  /** Appends to an upload. Errors: upload_offset (details.received), payload_too_large, upload_damaged. */
  takeResult(sha256: string, at: { offset: number; bytes: number }, body: Readable): Promise<ResultState>;
  /**
   * Nobody will fill what is missing: what waits beside the journal is appended to it, so that the decoder names the gaps. Resolves
   * when all is written.
   */
  giveUp(): Promise<void>;
}
