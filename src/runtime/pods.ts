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
  /** The server goes: what came is written and files are closed. Attempts run on, and the next server opens them again. */
  release(): Promise<void>;
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
  /** Aborted when it was closed: what goes on for the attempt ends. */
  readonly over: AbortSignal;
  /**
   * Takes one line of the pod's log, LF left off; the bytes are copied. A line that is not an envelope of this attempt, or stands
   * behind its last word, is false, and nothing else happens; one whose number is known is read over; one with numbers missing
   * before it waits beside the journal, and the recorder is asked. Never fails: what cannot be written is asked for again.
   */
  offer(line: Buffer): boolean;
  /**
   * Takes whole lines that the recorder uploaded; resolves with {@link have} once they are written, the last word on the disk
   * itself. Errors: disk_full (nothing is acknowledged), invalid_request (one of them is no line of this attempt; the others were
   * taken), forbidden (closed, or given up).
   */
  lines(body: Buffer): Promise<number>;
  /**
   * Listens to what the recorder is to be told: at once what is so, then every change. A listener that throws is dropped.
   *
   * @param onEnd nothing more will come: it was closed (after the last `have` was told), dropped, or another link took its place
   * @returns the way to end it
   */
  link(onMessage: (message: LinkMessage) => void, onEnd?: () => void): () => void;
  /** To be told to the recorder, now or when it links. The first reason stands. */
  stop(reason: NonNullable<LinkMessage['stop']>): void;
  /** Prompts wait up to this number: to be told to the recorder, now or when it links. It asks for them itself. */
  prompt(no: number): void;
  /** What is there of an upload. */
  resultState(sha256: string): Promise<ResultState>;
  /**
   * Appends to an upload. One at a time: a later one cuts the earlier. Errors: upload_offset (details.received), payload_too_large,
   * upload_damaged, disk_full, invalid_request (cut off).
   */
  takeResult(sha256: string, at: { offset: number; bytes: number }, body: Readable): Promise<ResultState>;
  /**
   * Nobody will fill what is missing: what waits beside the journal is appended to it, so that the decoder names the gaps. Resolves
   * when all is written. Nothing more is taken, and `have` stays what it was. Errors: disk_full; it may be called again.
   */
  giveUp(): Promise<void>;
}
