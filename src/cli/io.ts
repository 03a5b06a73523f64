import type { Config } from '../config.ts';

/** What the CLI has of the world: handed in, so that tests drive it in process. */
export interface Io {
  stdout: Output;
  stderr: Output;
  /** All of standard input, as bytes. */
  readStdin(): Promise<Buffer>;
  /** Asks a person for a secret, which is not shown; null where there is no terminal to ask on, and where they gave up. */
  askSecret(question: string): Promise<string | null> | null;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Calls back at each Ctrl-C (`interrupt`) or other request to end (`terminate`). Returns the way to stop it. */
  onSignal(listener: (signal: 'interrupt' | 'terminate') => void): () => void;
  /** Calls back when the process ends, however it does. Returns the way to stop it. */
  onExit(listener: () => void): () => void;
  /** Milliseconds since the epoch. */
  now(): number;
  /** The arguments as the bytes they were, where the system tells: null elsewhere. */
  rawArguments(): Buffer | null;
  /** The node binary and this program's file: how a server is started beside this process. */
  program: readonly string[];
  version: string;
  /** Starts a server in this process. Handed in by `main.ts`: the CLI itself is a client. */
  startHouse: StartHouse;
}

export interface Output {
  write(text: string | Uint8Array): void;
  isTTY: boolean;
  columns: number;
  rows: number;
}

export interface House {
  /** Where it listens, e.g. `http://127.0.0.1:8000`. */
  url: string;
  close(): Promise<void>;
}

export type StartHouse = (config: Config, options: HouseOptions) => Promise<House>;

export interface HouseOptions {
  version: string;
  /** Called once when nothing ran and nobody asked for anything for so many seconds. */
  idle?: { seconds: number; onIdle: () => void } | undefined;
}
