import { AppError } from '../errors.ts';
import { CallFault } from './dialect.ts';
import type { ModelCall } from './gateway.ts';
import type { Judged } from './judge.ts';
import { createMask, type Mask } from './mask.ts';
import type { Meter } from './meter.ts';
import type { PriceTable } from './prices.ts';
import { noUsage, unknownUsage, type Usage } from './usage.ts';

/** What is known of a call while it goes on. */
export interface Progress {
  status: number;
  /** `<provider>/<model>`. */
  model: string;
  /** Whether the provider was asked: from then on something may have been spent. */
  sent: boolean;
  /** Whether it only asks how many tokens a request has, which costs nothing. */
  counting: boolean;
  waitedMs: number;
  mask: Mask;
  answer: Judged | null;
  meter: Meter | null;
  fault: CallFault | null;
}

export function begin(model: string, redact: (text: string) => string): Progress {
  return {
    // What nginx writes of a client that left before it had a status.
    status: 499,
    model,
    sent: false,
    counting: false,
    waitedMs: 0,
    mask: createMask([], redact),
    answer: null,
    meter: null,
    fault: null,
  };
}

/** What a call that is over has used, and what went wrong. */
export function sumUp(
  progress: Progress,
  prices: PriceTable,
): Pick<ModelCall, 'tokens' | 'costMicrodollars' | 'error' | 'code'> {
  const { answer, fault, mask, counting } = progress;
  const code = fault?.code ?? null;
  const said = fault?.note ?? answer?.error?.note ?? null;
  const error = (words: string | null): string | null => (words === null ? null : mask.text(words));
  if (answer === null || answer.error !== null || counting) {
    const nothingSpent =
      !progress.sent || counting || fault?.nothingSpent === true || answer?.error?.nothingSpent === true;
    const tokens = tokensOf(nothingSpent ? noUsage : unknownUsage);
    return { tokens, costMicrodollars: nothingSpent ? 0 : null, error: error(said), code };
  }
  const metered = progress.meter?.end() ?? { usage: unknownUsage, complete: false, error: null };
  const reported = metered.error === null ? null : `provider reported in its answer: ${metered.error.slice(0, 1000)}`;
  const why = reported ?? said ?? (metered.complete ? null : 'the answer stopped before its end');
  const costMicrodollars = prices.costOf(progress.model, metered.usage);
  return { tokens: tokensOf(metered.usage), costMicrodollars, error: error(why), code };
}

function tokensOf({ input, output, cacheRead, cacheWrite }: Usage): ModelCall['tokens'] {
  return { input, output, cacheRead, cacheWrite };
}

export function toFault(thrown: unknown): CallFault {
  if (thrown instanceof CallFault) return thrown;
  if (thrown instanceof AppError) {
    return new CallFault(
      thrown.status,
      thrown.code,
      thrown.hint === undefined ? thrown.message : `${thrown.message} ${thrown.hint}`,
      { cause: thrown },
    );
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CallFault(500, 'internal', `The gateway failed: ${message}`, { cause: thrown });
}
