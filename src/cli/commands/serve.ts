import { plainLine } from '../display.ts';
import type { Session } from '../session.ts';

/** `aideator serve`: a server in this process, until it is told to end. */
export async function serve(
  session: Session,
  _args: string[],
  { host, port, exitWhenIdle }: { host?: string; port?: number; exitWhenIdle?: number },
): Promise<number> {
  const { config } = session.load({ host, port });
  const stop = Promise.withResolvers<string>();
  const off = session.io.onSignal((signal) => stop.resolve(signal));
  try {
    const house = await session.io.startHouse(config, {
      version: session.io.version,
      idle: exitWhenIdle === undefined ? undefined : { seconds: exitWhenIdle, onIdle: () => stop.resolve('idle') },
    });
    if (session.json)
      session.io.stdout.write(`${JSON.stringify({ url: house.url, pid: process.pid, data_dir: config.data_dir })}\n`);
    else {
      session.print(
        `AIdeator ${session.io.version} serves at ${session.palette.bold(house.url)}  (documentation: ${house.url}/docs)`,
      );
      session.print(
        `Data: ${plainLine(config.data_dir)}. Ctrl-C ends the server; runs under way go on, and are taken up at the next start.`,
      );
    }
    const why = await stop.promise;
    session.remark(why === 'idle' ? `Nothing to do for ${exitWhenIdle ?? 0} s: ending.` : 'Ending …');
    await house.close();
    return 0;
  } finally {
    off();
  }
}
