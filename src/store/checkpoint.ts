import type { DatabaseSync } from 'node:sqlite';

/** What `PRAGMA wal_checkpoint` answers, in pages of the WAL. */
export interface Checkpointed {
  /** How many pages the WAL holds. */
  log: number;
  /** How many of them are in the database file by now. */
  done: number;
}

/** How often it starts over for what was committed meanwhile, and when that is little enough. */
const ROUNDS = 4;
const LITTLE = 64;

/**
 * Moves what it can without waiting for anybody (PASSIVE). Both numbers are those of the moment it began: what is committed
 * while it works is left for the next one.
 */
export function checkpoint(db: DatabaseSync): Checkpointed {
  const row = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get();
  return { log: Number(row?.['log'] ?? 0), done: Number(row?.['checkpointed'] ?? 0) };
}

/** Checkpoints until hardly anything comes while it works: each round is shorter than the one before. */
export function catchUp(db: DatabaseSync): Checkpointed {
  let result = checkpoint(db);
  for (let round = 1; round < ROUNDS; round += 1) {
    const before = result.log;
    result = checkpoint(db);
    if (result.log - before < LITTLE) break;
  }
  return result;
}
