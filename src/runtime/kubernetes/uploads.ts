import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { ResultState } from '../../contract/attempt-door.ts';
import { AppError } from '../../errors.ts';
import { diskError, syncFolder, writeAll } from './disk.ts';
import type { PodPaths } from './pod-paths.ts';

/** One attempt's patch on its way in: named by its hash, resumable, and a patch only once it is whole and right. */
export interface Uploads {
  state(sha256: string): Promise<ResultState>;
  /** Errors: payload_too_large, upload_offset (details.received), upload_damaged, invalid_request, disk_full. */
  take(sha256: string, at: { offset: number; bytes: number }, body: Readable): Promise<ResultState>;
  /** Cuts what is under way; resolves when nothing is. */
  stop(): Promise<void>;
}

export function createUploads(paths: Pick<PodPaths, 'upload' | 'patch'>, maxBytes: number): Uploads {
  /** The patch that is whole; undefined = not looked at yet. */
  let whole: { sha256: string; bytes: number } | null | undefined;
  /** The body that is being read. */
  let current: Readable | null = null;
  let before: Promise<unknown> = Promise.resolve();

  const partOf = (sha256: string) => join(paths.upload, `${sha256}.part`);
  const sizeOf = (path: string) =>
    stat(path).then(
      ({ size }) => size,
      () => null,
    );

  async function findWhole(): Promise<typeof whole> {
    if (whole !== undefined) return whole;
    const bytes = await sizeOf(paths.patch);
    return (whole = bytes === null ? null : { sha256: await hashOf(paths.patch), bytes });
  }

  async function state(sha256: string): Promise<ResultState> {
    const found = await findWhole();
    if (found?.sha256 === sha256) return { received: found.bytes, complete: true };
    return { received: (await sizeOf(partOf(sha256))) ?? 0, complete: false };
  }

  async function receive(sha256: string, offset: number, bytes: number, body: Readable): Promise<ResultState> {
    const { received, complete } = await state(sha256);
    if (complete) return { received, complete };
    const part = partOf(sha256);
    const damaged = async (why: string): Promise<AppError> => {
      await rm(part, { force: true });
      return new AppError('upload_damaged', `The upload was thrown away: ${why}. Begin it anew.`);
    };
    if (received > bytes) throw await damaged(`${received} bytes of it were here, and it is to have ${bytes}`);
    if (offset !== received) {
      throw new AppError('upload_offset', `The upload goes on at ${received}, not at ${offset}.`, {
        details: { received },
      });
    }
    if (received === 0) await removeOthers(sha256);
    let size = received;
    const file = await open(part, constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      // Not destroyed where this stops early: whoever sent it is to read why.
      for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        if (size + chunk.length > bytes) throw await damaged(`more than ${bytes} bytes came`);
        await writeAll(file, chunk, size);
        size += chunk.length;
      }
      if (size < bytes) return { received: size, complete: false };
      await file.sync();
    } finally {
      await file.close();
    }
    if ((await hashOf(part)) !== sha256) throw await damaged('its hash is another');
    await rename(part, paths.patch);
    await syncFolder(dirname(paths.patch));
    whole = { sha256, bytes };
    return { received: bytes, complete: true };
  }

  /** A patch that was begun and given up for another: an attempt has one. */
  async function removeOthers(sha256: string): Promise<void> {
    await mkdir(paths.upload, { recursive: true, mode: 0o700 });
    for (const name of await readdir(paths.upload)) {
      if (name !== `${sha256}.part`) await rm(join(paths.upload, name), { force: true });
    }
  }

  return {
    state,
    take: async (sha256, { offset, bytes }, body) => {
      // Also where nobody reads it in the end: its failure is of its request alone.
      body.on('error', () => undefined);
      if (bytes > maxBytes) {
        throw new AppError('payload_too_large', `A patch of ${bytes} bytes is more than ${maxBytes}.`);
      }
      // One at a time. The later has come because the earlier is dead, whether or not this end has seen that yet.
      current?.destroy();
      current = body;
      const taken = before.then(async () => {
        try {
          return await receive(sha256, offset, bytes, body);
        } catch (error) {
          if (error instanceof AppError) throw error;
          if (body.readableAborted) throw cutOff(error);
          throw diskError(error);
        } finally {
          if (current === body) current = null;
        }
      });
      before = taken.catch(() => undefined);
      return taken;
    },
    stop: async () => {
      current?.destroy();
      await before;
    },
  };
}

function cutOff(cause: unknown): AppError {
  return new AppError('invalid_request', 'The upload was cut off; what came of it is kept.', { cause });
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
