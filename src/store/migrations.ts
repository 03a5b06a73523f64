import type { DatabaseSync } from 'node:sqlite';
import { AppError } from '../errors.ts';

/** Marks a file as ours (PRAGMA application_id): "AIde". */
export const APPLICATION_ID = 0x41_49_64_65;

export interface Migration {
  /** Counted from 1 without gaps; PRAGMA user_version holds the last one applied. */
  version: number;
  name: string;
  up: string | ((db: DatabaseSync) => void);
}

/**
 * Frames longer than this stand in an index of their own, so that a page of the log can stop before them: a page of 500 is
 * then never larger than 8 MB, whatever the agents said.
 */
export const LARGE_FRAME_BYTES = 16 * 1024;

export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: 'runs, events, calls, choices, keys',
    up: `
      PRAGMA application_id = ${APPLICATION_ID};

      CREATE TABLE runs (
        no INTEGER PRIMARY KEY AUTOINCREMENT CHECK (no < 2097152),
        id TEXT NOT NULL UNIQUE,
        repository TEXT NOT NULL,
        mirror TEXT NOT NULL,
        ref TEXT,
        base TEXT NOT NULL,
        prompt TEXT NOT NULL,
        max_parallel INTEGER NOT NULL,
        retries INTEGER NOT NULL,
        limits TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at TEXT NOT NULL,
        ended_at TEXT,
        deadline_at TEXT,
        cancelled_at TEXT,
        forget_at TEXT
      ) STRICT;
      CREATE INDEX runs_status ON runs (status, no);
      CREATE INDEX runs_deadline ON runs (deadline_at) WHERE ended_at IS NULL AND deadline_at IS NOT NULL;
      CREATE INDEX runs_forget ON runs (no) WHERE forget_at IS NOT NULL;

      CREATE TABLE variations (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        agent TEXT NOT NULL,
        model TEXT NOT NULL,
        strategy TEXT,
        instruction TEXT,
        dialect TEXT NOT NULL,
        limits TEXT NOT NULL,
        status TEXT NOT NULL,
        end_reason TEXT,
        message TEXT,
        queued_at TEXT NOT NULL,
        started_at TEXT,
        ended_at TEXT,
        stop_reason TEXT,
        retries_left INTEGER NOT NULL,
        result_attempt INTEGER,
        PRIMARY KEY (run, idx)
      ) STRICT;
      CREATE INDEX variations_active ON variations (status, run, idx)
        WHERE status IN ('queued', 'starting', 'running', 'finishing');

      -- Its numbers are never reused: they tell events that were delivered twice from new ones.
      CREATE TABLE attempts (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        run INTEGER NOT NULL,
        variation INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        status TEXT NOT NULL,
        end_reason TEXT,
        message TEXT,
        isolation TEXT NOT NULL,
        token_sha256 TEXT NOT NULL UNIQUE,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        last_seq INTEGER NOT NULL,
        log_complete INTEGER,
        gaps TEXT NOT NULL,
        stated_result TEXT,
        eof TEXT,
        handle TEXT,
        keep INTEGER NOT NULL,
        UNIQUE (run, variation, attempt),
        FOREIGN KEY (run, variation) REFERENCES variations ON DELETE CASCADE
      ) STRICT;
      CREATE INDEX attempts_active ON attempts (status) WHERE status IN ('starting', 'running', 'finishing');

      CREATE TABLE results (
        attempt INTEGER PRIMARY KEY REFERENCES attempts ON DELETE CASCADE,
        tree TEXT NOT NULL,
        patch_bytes INTEGER NOT NULL,
        files INTEGER NOT NULL,
        additions INTEGER NOT NULL,
        deletions INTEGER NOT NULL,
        data TEXT NOT NULL
      ) STRICT;

      -- No foreign keys: they would cost a look-up for each event.
      CREATE TABLE events (
        key INTEGER PRIMARY KEY,
        attempt INTEGER,
        seq INTEGER,
        span INTEGER NOT NULL,
        variation INTEGER,
        type TEXT NOT NULL,
        frame TEXT NOT NULL
      ) STRICT;
      CREATE UNIQUE INDEX events_delivered ON events (attempt, seq) WHERE attempt IS NOT NULL;
      CREATE INDEX events_large ON events (key) WHERE octet_length(frame) > ${LARGE_FRAME_BYTES};

      -- No id above the ceiling was ever given to an event: see event-ids.ts.
      CREATE TABLE event_ids (only INTEGER PRIMARY KEY CHECK (only = 1), ceiling INTEGER NOT NULL) STRICT;
      INSERT INTO event_ids VALUES (1, 0);

      CREATE TABLE model_calls (
        no INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        variation INTEGER NOT NULL,
        attempt INTEGER NOT NULL REFERENCES attempts ON DELETE CASCADE,
        at TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        dialect TEXT NOT NULL,
        status INTEGER NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_write_tokens INTEGER,
        cost_microdollars INTEGER,
        duration_ms REAL NOT NULL,
        error TEXT
      ) STRICT;
      CREATE INDEX model_calls_run ON model_calls (run, variation);
      CREATE INDEX model_calls_attempt ON model_calls (attempt);

      CREATE TABLE choices (
        run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
        variation INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        reason TEXT,
        chosen_at TEXT NOT NULL
      ) STRICT;

      CREATE TABLE shipments (
        no INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        variation INTEGER NOT NULL,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        commit_id TEXT,
        at TEXT NOT NULL
      ) STRICT;
      CREATE INDEX shipments_run ON shipments (run);

      CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        scope TEXT NOT NULL,
        sha256 TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        last_used_at TEXT
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        status INTEGER NOT NULL,
        body TEXT NOT NULL,
        at TEXT NOT NULL
      ) STRICT;
      CREATE INDEX idempotency_at ON idempotency (at);
    `,
  },
  {
    version: 2,
    name: 'attempts in a cluster',
    up: `
      -- Of the agent's container; none = the configured one.
      ALTER TABLE runs ADD COLUMN image TEXT;
      -- Why an attempt has not begun: {reason, message, since}.
      ALTER TABLE attempts ADD COLUMN waiting TEXT;
      -- Whose Jobs are this database's: their label.
      CREATE TABLE house (only INTEGER PRIMARY KEY CHECK (only = 1), instance TEXT NOT NULL) STRICT;
      INSERT INTO house VALUES (1, lower(hex(randomblob(6))));
    `,
  },
  {
    version: 3,
    name: 'budgets',
    up: `
      -- JSON: Budget; none = no limit.
      ALTER TABLE runs ADD COLUMN budget TEXT;
      ALTER TABLE variations ADD COLUMN budget TEXT;
      -- What was set aside for a call; what it counts with (from the start all that was set aside, so that a crash needs no
      -- sums); and how that is known: measured, or assumed. Not settled = under way.
      ALTER TABLE model_calls ADD COLUMN reserved_microdollars INTEGER;
      ALTER TABLE model_calls ADD COLUMN reserved_tokens INTEGER;
      ALTER TABLE model_calls ADD COLUMN charged_microdollars INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE model_calls ADD COLUMN charged_tokens INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE model_calls ADD COLUMN settled TEXT;
      UPDATE model_calls SET
        charged_microdollars = coalesce(cost_microdollars, 0),
        charged_tokens = coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)
          + coalesce(cache_write_tokens, 0),
        settled = iif(status = 0, 'assumed', 'measured');
      CREATE INDEX model_calls_open ON model_calls (no) WHERE settled IS NULL;
      -- A table of its own, because runs are forgotten and what they spent that day is not.
      CREATE TABLE budget_days (
        day TEXT PRIMARY KEY,
        microdollars INTEGER NOT NULL,
        tokens INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
    `,
  },
  {
    version: 4,
    name: 'follow-up prompts and forks',
    up: `
      -- Rows of attempts: where the next one of a variation starts, what it was forked from, and what an attempt goes on from.
      ALTER TABLE variations ADD COLUMN start_from INTEGER;
      ALTER TABLE variations ADD COLUMN forked_from INTEGER;
      ALTER TABLE attempts ADD COLUMN continues INTEGER;
      -- And the prompt that it then began with.
      ALTER TABLE attempts ADD COLUMN prompt INTEGER;
      -- Its numbers are never reused: a recorder takes each once.
      CREATE TABLE prompts (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,
        variation INTEGER NOT NULL,
        text TEXT NOT NULL,
        at TEXT NOT NULL,
        status TEXT NOT NULL,
        origin INTEGER,
        FOREIGN KEY (run, variation) REFERENCES variations ON DELETE CASCADE
      ) STRICT;
      CREATE INDEX prompts_variation ON prompts (run, variation, no);
    `,
  },
  {
    version: 5,
    name: 'runs without a sandbox',
    up: `
      ALTER TABLE runs ADD COLUMN unsandboxed INTEGER NOT NULL DEFAULT 0;
    `,
  },
];

/** The newest version that a list of migrations leads to. */
export function newestVersion(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
}

export function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
}

/** Errors: database_newer, when a newer program has written the database. */
export function refuseNewer(path: string, found: number, newest: number): void {
  if (found <= newest) return;
  throw new AppError(
    'database_newer',
    `The database ${path} has version ${found}, and this program knows versions up to ${newest}. Nothing was changed.`,
    { hint: 'Use the newer AIdeator that wrote it, or use another data directory.', details: { found, newest } },
  );
}

/** Brings a database to the newest version, each step in a transaction of its own: what fails leaves the version before it. */
export function migrate(db: DatabaseSync, migrations: readonly Migration[] = MIGRATIONS): void {
  for (const { version, up } of migrations) {
    if (version <= versionOf(db)) continue;
    db.exec('BEGIN IMMEDIATE');
    try {
      if (typeof up === 'string') db.exec(up);
      else up(db);
      db.exec(`PRAGMA user_version = ${version}`);
      db.exec('COMMIT');
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}
