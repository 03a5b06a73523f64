import { isSame } from './api.ts';
import type { KubernetesObject } from './objects.ts';

export type ChangeType = 'added' | 'modified' | 'deleted';

/**
 * The objects of one collection by name, each change told once. An object that was made anew under an old name is told as the
 * deletion of the one and the addition of the other.
 */
export interface ObjectStore<T extends KubernetesObject> {
  put(object: T): void;
  remove(object: T): void;
  /** All there is now: what is not among it is gone. */
  replace(objects: readonly T[]): void;
  get(name: string): T | undefined;
  list(): T[];
}

export function createObjectStore<T extends KubernetesObject>(
  onChange: (type: ChangeType, object: T) => void,
): ObjectStore<T> {
  const byName = new Map<string, T>();
  type Change = readonly [ChangeType, T];

  function put(object: T): Change[] {
    const { name, resourceVersion } = object.metadata;
    const known = byName.get(name);
    // Read again, and nothing happened meanwhile.
    if (known !== undefined && isSame(known, object) && known.metadata.resourceVersion === resourceVersion) return [];
    // Who set which field: as large as all the rest, and read by nobody here.
    Reflect.deleteProperty(object.metadata, 'managedFields');
    byName.set(name, object);
    if (known === undefined) return [['added', object]];
    if (isSame(known, object)) return [['modified', object]];
    return [
      ['deleted', known],
      ['added', object],
    ];
  }

  function remove(object: T): Change[] {
    const known = byName.get(object.metadata.name);
    if (known === undefined || !isSame(known, object)) return [];
    byName.delete(object.metadata.name);
    return [['deleted', object]];
  }

  /** After all of it is in the picture. */
  function tell(changes: readonly Change[]): void {
    for (const [type, object] of changes) onChange(type, object);
  }

  return {
    put: (object) => tell(put(object)),
    remove: (object) => tell(remove(object)),
    replace: (objects) => {
      const names = new Set(objects.map((object) => object.metadata.name));
      const gone = [...byName.values()].filter((object) => !names.has(object.metadata.name));
      tell([...gone.flatMap(remove), ...objects.flatMap(put)]);
    },
    get: (name) => byName.get(name),
    list: () => [...byName.values()],
  };
}
