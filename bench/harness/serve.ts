import type { Answer, Request } from './child.ts';

/**
 * Makes this process answer the calls of the one that started it, and end with it: a bench that is killed leaves nothing.
 *
 * @param close called before the process ends.
 */
export function serve(handlers: object, close: () => Promise<void> | void = () => undefined): void {
  const send = (message: Answer | 'ready') => process.send?.(message);
  process.on('message', (message) => {
    const { no, name, input } = message as Request;
    const handler: unknown = Reflect.get(handlers, name);
    Promise.resolve()
      .then(() => {
        if (typeof handler !== 'function') throw new Error(`there is no ${name}`);
        return Reflect.apply(handler, handlers, input) as unknown;
      })
      .then(
        (value) => send({ no, value }),
        (error: unknown) =>
          send({ no, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
  process.once('disconnect', () => {
    Promise.resolve()
      .then(close)
      .then(
        () => process.exit(0),
        (error: unknown) => {
          process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
          process.exit(1);
        },
      );
  });
  send('ready');
}
