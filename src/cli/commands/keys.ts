import { KEY_SCOPES } from '../../contract/api-system.ts';
import { dateTime } from '../format.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

/** `aideator keys create`: the key itself is shown this once. */
export async function createKey(
  session: Session,
  [name = 'key']: string[],
  { scope = 'run' }: { scope?: string },
): Promise<number> {
  const client = await session.connect();
  const created = await client.createKey({ name, scope: KEY_SCOPES.find((known) => known === scope) ?? 'run' });
  if (session.json) {
    session.printJson(created);
    return 0;
  }
  session.print(created.key);
  session.remark(
    `This is shown once: only its hash is kept. Clients take it from AIDEATOR_API_KEY. Scope: ${created.scope}. Revoke it with: aideator keys revoke ${created.id}`,
  );
  return 0;
}

/** `aideator keys list`. */
export async function listKeys(session: Session): Promise<number> {
  const client = await session.connect();
  const keys = await client.keys();
  if (session.json) session.printJson({ keys });
  else if (keys.length === 0)
    session.say('No keys. On this machine none is needed; `aideator keys create` makes one for others.');
  else {
    const rows = keys.map((key) =>
      [
        key.id,
        key.name,
        key.scope,
        dateTime(key.created_at),
        key.last_used_at === null ? 'never' : dateTime(key.last_used_at),
      ].map((text) => ({ text })),
    );
    const columns = [
      { title: 'id' },
      { title: 'name', flexible: 1 },
      { title: 'scope' },
      { title: 'created', expendable: 1 },
      { title: 'last used' },
    ];
    session.print(...table(columns, rows, session.columns, session.palette));
  }
  return 0;
}

/** `aideator keys revoke`. */
export async function revokeKey(session: Session, [id = '']: string[]): Promise<number> {
  const client = await session.connect();
  await client.revokeKey(id);
  if (session.json) session.printJson({ id, revoked: true });
  else session.print(`Key ${id} is revoked.`);
  return 0;
}
