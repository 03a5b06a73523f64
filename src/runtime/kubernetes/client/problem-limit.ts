/** In how long how many problems are told; the rest is counted. A container can print garbage faster than anybody reads. */
const WINDOW_MS = 60_000;
const PER_WINDOW = 20;

/** Passes the first ones of every minute on, and says with the next minute's first how many there were besides. */
export function limitProblems(
  tell: (message: string) => void,
  now: () => number = Date.now,
): (message: string) => void {
  let windowEnds = 0;
  let told = 0;
  let kept = 0;
  return (message) => {
    if (now() >= windowEnds) {
      windowEnds = now() + WINDOW_MS;
      told = 0;
    }
    if (told >= PER_WINDOW) {
      kept += 1;
      return;
    }
    told += 1;
    tell(kept === 0 ? message : `${message} (and ${kept} more before)`);
    kept = 0;
  };
}
