import type { Config } from '../../config.ts';
import { toAppError } from '../../errors.ts';
import { plainLine } from '../display.ts';
import { imprintOf } from '../imprint.ts';
import type { House, HouseOptions } from '../io.ts';
import { backgroundServer, markBackground, stopServer } from '../server.ts';
import type { Session } from '../session.ts';

interface ServeOptions {
  host?: string;
  port?: number;
  exitWhenIdle?: number;
}

/** `aideator serve`: a server in this process, until it is told to end. */
export async function serve(
  session: Session,
  _args: string[],
  { host, port, exitWhenIdle }: ServeOptions,
): Promise<number> {
  const { config } = session.load({ host, port });
  const stop = Promise.withResolvers<string>();
  const off = session.io.onSignal((signal) => stop.resolve(signal));
  try {
    const idle = exitWhenIdle === undefined ? undefined : { seconds: exitWhenIdle, onIdle: () => stop.resolve('idle') };
    const house = await start(session, config, { version: session.io.version, idle });
    const unmark =
      idle === undefined
        ? (): void => undefined
        : markBackground(config.data_dir, imprintOf(config, session.io.version));
    if (session.json) {
      session.io.stdout.write(`${JSON.stringify({ url: house.url, pid: process.pid, data_dir: config.data_dir })}\n`);
    } else {
      session.print(
        `AIdeator ${session.io.version} serves at ${session.palette.bold(house.url)}`,
        `Documentation: ${house.url}/docs`,
        `Data: ${plainLine(config.data_dir)}`,
        'Ctrl-C ends the server; runs go on, and are taken up at the next start.',
      );
    }
    const why = await stop.promise;
    session.remark(why === 'idle' ? `Nothing to do for ${exitWhenIdle ?? 0} s: ending.` : 'Ending …');
    unmark();
    await house.close();
    return 0;
  } finally {
    off();
  }
}

/** Starts the house; takes over from a server in the background, which is there for convenience only. */
async function start(session: Session, config: Config, options: HouseOptions): Promise<House> {
  try {
    return await session.io.startHouse(config, options);
  } catch (error) {
    const other =
      toAppError(error).code === 'data_dir_locked' && options.idle === undefined
        ? backgroundServer(config.data_dir)
        : null;
    if (other === null) throw error;
    session.remark(`Taking over from the server in the background (process ${other.pid}).`);
    await stopServer(config.data_dir);
    return session.io.startHouse(config, options);
  }
}
