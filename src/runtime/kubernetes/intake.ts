import { mkdir } from 'node:fs/promises';
import { linePrefix } from '../../contract/envelope-encoder.ts';
import { createLineReader, parseLine, type Line } from '../../contract/envelope-line.ts';
import type { LinkMessage } from '../../contract/attempt-door.ts';
import { AppError } from '../../errors.ts';
import type { Intake } from '../pods.ts';
import { openAhead } from './ahead.ts';
import { createIntakeWriter } from './intake-writer.ts';
import { isLastWord, openJournalFile, type NumberedLine } from './journal-file.ts';
import { createLinks } from './links.ts';
import { openClaim } from './pod-claim.ts';
import { podPaths } from './pod-paths.ts';
import { createUploads } from './uploads.ts';

export interface IntakeOptions {
  attemptId: string;
  directory: string;
  podUid: string | null;
  maxPatchBytes: number;
}

/** An intake as its maker has it. */
export interface OpenIntake extends Intake {
  /** Writes what waits, tells links how far it is, ends them, closes files. */
  close(): Promise<void>;
}

const LF = 10;

/** Makes an attempt's intake, or finds it again: what is there is told by its files alone. */
export async function openIntake(options: IntakeOptions): Promise<OpenIntake> {
  const { attemptId, directory } = options;
  const paths = podPaths(directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const claim = await openClaim(paths.claim, options.podUid);
  const journal = await openJournalFile(paths.journal, attemptId);
  const ahead = await openAhead(paths.ahead, attemptId, journal.lastSeq);
  const uploads = createUploads(paths, options.maxPatchBytes);
  const over = new AbortController();
  const prefix = linePrefix(attemptId);
  let seen = Math.max(journal.lastSeq, ahead.last);
  let heardAt: number | null = null;
  let stopReason: LinkMessage['stop'];
  let promptNo = 0;
  let isOpen = true;

  const writer = createIntakeWriter(journal, ahead, {
    again: (lines) =>
      createLineReader(attemptId, 0).read(lines, (line) => {
        if (typeof line !== 'string') writer.take(numbered(line), true);
      }),
    onChange: (isUrgent) => links.changed(isUrgent),
  });
  const links = createLinks(() => ({
    have: writer.have,
    ...(stopReason === undefined ? {} : { stop: stopReason }),
    ...(promptNo === 0 ? {} : { prompt: promptNo }),
  }));

  /** A line that is well-formed; false where it stands behind the last word. */
  function take(line: Line, isUpload: boolean): boolean {
    if (!isOpen || writer.isGivenUp) return true;
    const isNews = line.type === 'hb' || line.seq > seen;
    if (isNews) heardAt = Date.now();
    seen = Math.max(seen, line.seq);
    if (line.type === 'hb') {
      writer.heardOf(line.seq);
      return true;
    }
    return writer.take(numbered(line), isUpload);
  }

  function assertOpen(): void {
    if (!isOpen || writer.isGivenUp) {
      throw new AppError('forbidden', 'The attempt is over: nothing more is wanted of it.');
    }
  }

  return {
    journal: paths.journal,
    get have() {
      return writer.have;
    },
    get seen() {
      return seen;
    },
    get ended() {
      return writer.ended;
    },
    get podUid() {
      return claim.podUid;
    },
    get heardAt() {
      return heardAt;
    },
    get links() {
      return links.count;
    },
    over: over.signal,
    claim: (podUid) => {
      heardAt = Date.now();
      return claim.claim(podUid);
    },
    offer: (bytes) => {
      const whole = Buffer.allocUnsafe(bytes.length + 1);
      bytes.copy(whole);
      whole[bytes.length] = LF;
      const line = parseLine(prefix, whole);
      return line !== null && take(line, false);
    },
    lines: async (body) => {
      assertOpen();
      await writer.room();
      heardAt = Date.now();
      const bad: string[] = [];
      createLineReader(attemptId, 0).read(body, (line) => {
        if (typeof line === 'string') bad.push(line);
        else if (!take(line, true)) bad.push(`line ${line.seq} stands behind the eof`);
      });
      await writer.written();
      if (bad.length > 0) throw new AppError('invalid_request', `Of the lines that were uploaded, ${bad[0]}.`);
      return writer.have;
    },
    link: (onMessage, onEnd = () => undefined) => {
      if (!isOpen) {
        onEnd();
        return () => undefined;
      }
      heardAt = Date.now();
      return links.add({ onMessage, onEnd });
    },
    stop: (reason) => {
      if (stopReason !== undefined) return;
      stopReason = reason;
      links.tell({ stop: reason });
    },
    prompt: (no) => {
      if (no <= promptNo) return;
      promptNo = no;
      links.tell({ prompt: no });
    },
    resultState: (sha256) => uploads.state(sha256),
    takeResult: async (sha256, at, body) => {
      assertOpen();
      heardAt = Date.now();
      return uploads.take(sha256, at, body);
    },
    giveUp: () => writer.giveUp(),
    close: async () => {
      if (!isOpen) return;
      isOpen = false;
      // A full disk: what could not be written was never acknowledged.
      await writer.written().catch(() => undefined);
      links.end();
      over.abort();
      await uploads.stop();
      await journal.close();
      await ahead.close();
    },
  };
}

function numbered(line: Line): NumberedLine {
  return { seq: line.seq, bytes: line.bytes, isEof: isLastWord(line) };
}
