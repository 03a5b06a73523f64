import type { HttpBindings } from '@hono/node-server';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { KEY_SCOPES } from '../contract/api-system.ts';
import type { Flow } from '../flow/flow.ts';
import type { Store } from '../store/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Keys } from './keys.ts';
import type { SseHub, SseOptions } from './sse.ts';

/** What the parts of the public door share. */

export type Scope = (typeof KEY_SCOPES)[number];

/** Who sent a request. `id` is the key's id, `local` on loopback without a key, `anonymous` on open paths. */
export interface Caller {
  id: string;
  scope: Scope;
}

export interface DoorEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    caller: Caller;
    /** The body of a POST as it came; empty where there was none. */
    body: Uint8Array<ArrayBuffer>;
  };
}

export type DoorApp = OpenAPIHono<DoorEnv>;

/** What the public door is built from. */
export interface DoorDeps {
  flow: Flow;
  store: Store;
  keys: Keys;
  telemetry: Telemetry;
  version: string;
  /** The address it will listen on. Where only this machine can reach it no key is needed, and Host and Origin are checked. */
  host: string;
  /** More names (without port) under which the loopback server answers. */
  allowedHosts: readonly string[];
  /** Called for every request, refused ones included. */
  onRequest?: (() => void) | undefined;
  sse?: Partial<SseOptions> | undefined;
}

/** The public door before it listens. */
export interface Door {
  readonly app: DoorApp;
  /** Open event streams. Once they are closing, the door answers 503. */
  readonly streams: SseHub;
  /** How many event streams are open. */
  subscribers(): number;
}

/** What the routes work with. */
export interface RouteDeps extends DoorDeps {
  streams: SseHub;
}
