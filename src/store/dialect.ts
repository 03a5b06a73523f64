import { SqliteDialect } from 'kysely';
import { AppError } from '../errors.ts';
import type { Statements } from './statements.ts';

/**
 * Kysely's own SQLite dialect over node:sqlite: it asks for little more than `prepare`, and leaves closing to us.
 *
 * Transactions are refused. There is one connection, and the writer commits on it whenever a turn ends: a transaction that
 * awaits anything would have others' writes in it.
 *
 * @param onWrite called after each statement that is not a query.
 */
export function createDialect(statements: Statements, onWrite: () => void): SqliteDialect {
  return new SqliteDialect({
    database: {
      prepare(sql) {
        if (/^\s*(?:begin|commit|end|rollback|savepoint|release)\b/i.test(sql)) {
          throw new AppError(
            'internal',
            `The store's connection takes no transactions of others (${sql}): use store.write({ within }).`,
          );
        }
        const prepared = statements.get(sql);
        return {
          reader: prepared.reader,
          all: (parameters) => statements.all(prepared, parameters),
          run(parameters) {
            const result = statements.run(prepared, parameters);
            onWrite();
            return result;
          },
          // Read at once: a cursor left open over an await would hold its snapshot, and checkpoints with it.
          iterate: (parameters) => statements.all(prepared, parameters).values(),
        };
      },
      close: () => {},
    },
  });
}
