import { open, type FileHandle } from 'node:fs/promises';
import { AppError } from '../../errors.ts';

/** Writes all of it at a place, however often the disk takes only a part. `onWritten` is told each part, also before a failure. */
export async function writeAll(
  file: FileHandle,
  bytes: Buffer,
  position: number,
  onWritten: (count: number) => void = () => undefined,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
    onWritten(bytesWritten);
  }
}

/** Has the disk confirm a folder's entries: a rename outlives a power cut only then. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** A failure of the disk in words of ours (disk_full) where it is full; anything else as it is. */
export function diskError(thrown: unknown): unknown {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return thrown;
  return new AppError('disk_full', 'There is no space left for what attempts say.', {
    hint: 'Make room on the data directory’s disk; recorders try again.',
    cause: thrown,
  });
}
