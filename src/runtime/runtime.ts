import type { Finding } from '../contract/api-system.ts';
import type { AttemptResult, AttemptSpec, Eof } from '../contract/attempt.ts';
import type { Envelope } from '../contract/envelope.ts';
import type { EndReason } from '../contract/run.ts';

/** The seam between the house and where attempts execute: `local/` (processes) and `kubernetes/` (Jobs). */

/** What a runtime needs to find an attempt again after the server died. */
export interface AttemptRef {
  attemptId: string;
  runId: string;
  variation: number;
  /** 0 for the first of its variation. */
  attempt: number;
  /** As stored by {@link RuntimeEvents.started}; null if the server died before. */
  handle: string | null;
  /** The seq of the last event stored. */
  lastSeq: number;
}

/** Envelopes that were read together. Committed as one. */
export interface Batch {
  envelopes: readonly Envelope[];
  /** Sequence numbers that are missing before or between these, as the follower saw it. */
  gaps: readonly { from_seq: number; to_seq: number | null; reason: string }[];
}

export type AttemptEnd =
  /** The recorder's last word was read, everything before it was handed over; `complete` = numbers dense and hash right. */
  | { kind: 'eof'; eof: Eof; complete: boolean }
  /** Nobody can say how it ended: the recorder is gone without a last word. What its journal held was handed over. */
  | { kind: 'lost'; message: string; reason?: EndReason }
  /** It never started, and never will. */
  | { kind: 'not_started'; message: string; reason: EndReason };

/** What a runtime tells the house. Calls for one attempt come in order; a runtime waits for `batch` before it reads on. */
export interface RuntimeEvents {
  /** The attempt's process or Job exists. Stored before anything else of it. */
  started(attemptId: string, handle: string): Promise<void>;
  batch(attemptId: string, batch: Batch): Promise<void>;
  /** Why the attempt has not begun, in words people are shown; told again only when it changes. */
  waiting(attemptId: string, what: { reason: string; message: string }): Promise<void>;
  /** Something is wrong with the transport, not the agent (unreadable lines …): counted and shown, never an agent's event. */
  transport(attemptId: string, message: string): void;
  /** Last call for the attempt. */
  ended(attemptId: string, end: AttemptEnd): Promise<void>;
}

/** What became of an attempt while there was no server. */
export type Adoption = 'running' | 'finished' | 'lost' | 'not_started';

export interface Runtime {
  readonly name: 'local' | 'kubernetes';
  /** What keeps attempts apart, in words people are shown. */
  readonly isolation: string;
  /** Starts an attempt whose row exists, and follows it. Rejects only where nothing was started. */
  start(spec: AttemptSpec): Promise<void>;
  /**
   * After a server's death: finds out what became of an attempt, and follows it on (running) or to the end of its journal
   * (finished meanwhile, lost). `found` is told first; the rest comes through the events, after it.
   */
  adopt(ref: AttemptRef, found: (became: Adoption) => Promise<void>): Promise<Adoption>;
  /** Asks for the end: ACP cancel, then SIGTERM, then SIGKILL of the whole group, each after its grace. Idempotent; the end comes as an event. */
  stop(attemptId: string, reason: EndReason): Promise<void>;
  /**
   * Hands a prompt to an attempt under way: its recorder takes it when its agent's turn ends, or never, and says so in the journal.
   * Numbers rise; again with the same number changes nothing. Nothing happens where the attempt is not there (any more).
   */
  prompt(attemptId: string, prompt: { no: number; text: string }): Promise<void>;
  /** Where the result's patch of a finished attempt lies; the caller checks its hash. */
  patchFile(attemptId: string): string;
  /** Takes the result of a lost attempt in its recorder's place; null where there is no work tree. Rejects where it cannot be taken. */
  rescue(attemptId: string, repository: AttemptSpec['repository']): Promise<AttemptResult | null>;
  /**
   * Removes what an ended attempt left in the runtime (workspace, journal, Job).
   *
   * @param how `expire`: what people may still want to look at goes after its time; `now`: all of it, at once.
   */
  remove(attemptId: string, how: 'now' | 'expire'): Promise<void>;
  /** Attempts the runtime has of which the house knows nothing. */
  orphans(known: ReadonlySet<string>): Promise<string[]>;
  /**
   * Looks whether attempts could be run here: rights, quotas, images. Never rejects.
   *
   * @param options.probe also runs something for a moment, as an attempt would be
   */
  preflight(options: { probe: boolean }): Promise<Finding[]>;
  /** Stops following. Attempts run on. */
  close(): Promise<void>;
}
