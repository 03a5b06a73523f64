import { join } from 'node:path';

/** What lies where in an attempt's directory. The recorder fills it; the runtime reads it. */
export interface AttemptLayout {
  /** The AttemptSpec; holds the attempt's token, so it is readable by this user only. */
  spec: string;
  /** Made with O_EXCL by whoever takes the attempt: its recorder, or a server that rules that it never started. */
  claim: string;
  journal: string;
  /** Why it is to stop: written before the recorder is signalled. */
  stop: string;
  patch: string;
  recorderLog: string;
  workspace: string;
  snapshot: string;
}

export function layoutOf(directory: string): AttemptLayout {
  return {
    spec: join(directory, 'spec.json'),
    claim: join(directory, 'claim.json'),
    journal: join(directory, 'journal.ndjson'),
    stop: join(directory, 'stop.json'),
    patch: join(directory, 'result.patch'),
    recorderLog: join(directory, 'recorder.log'),
    workspace: join(directory, 'workspace'),
    snapshot: join(directory, 'snapshot.git'),
  };
}
