import type { StopReason } from '@agentclientprotocol/sdk';
import type { Eof } from '../contract/attempt.ts';
import type { EndReason } from '../contract/run.ts';
import type { Exit } from './agent-process.ts';

/** How an attempt's agent ended, as far as it is known before its work is looked at. */
export interface Ending {
  reason: EndReason;
  message: string | null;
  exit: Eof['exit'];
}

/** The end of a turn that the agent answered. */
export function endingOfStop(stop: StopReason | undefined): Omit<Ending, 'exit'> {
  switch (stop) {
    case 'end_turn':
      return { reason: 'end_turn', message: null };
    case 'max_tokens':
      return { reason: 'max_tokens', message: 'The model reached its output limit.' };
    case 'max_turn_requests':
      return { reason: 'max_turns', message: 'The agent reached its step limit.' };
    case 'refusal':
      return { reason: 'refusal', message: 'The model refused.' };
    case 'cancelled':
      return { reason: 'cancelled', message: 'The agent ended its turn as cancelled, by itself.' };
    default:
      return {
        reason: 'protocol_error',
        message: `The agent ended its turn with an unknown stop reason: ${shorten(JSON.stringify(stop) ?? 'none')}`,
      };
  }
}

/**
 * The end of a turn that the agent answered with a JSON-RPC error. Our own agent says `data.kind`; of others it is read from
 * code, message and data: Claude and Codex say "Authentication required" (-32000 is ACP's code for it), OpenCode passes the
 * provider's message on.
 */
export function endingOfError(error: { code?: unknown; message?: unknown; data?: unknown }): Omit<Ending, 'exit'> {
  const data: unknown = error.data;
  const facts = typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : {};
  const said = [error.message, facts['message'], facts['details'], typeof data === 'string' ? data : undefined]
    .filter((each): each is string => typeof each === 'string' && each !== '')
    .filter((each, index, all) => all.indexOf(each) === index)
    .join(': ');
  const message = shorten(said === '' ? 'The agent answered with an error and no message.' : said);
  const status = Number(facts['status'] ?? facts['statusCode']);
  if (facts['kind'] === 'provider_auth' || facts['kind'] === 'provider_error')
    return { reason: facts['kind'], message };
  if (error.code === -32_000 || status === 401 || status === 403 || AUTH.test(said))
    return { reason: 'provider_auth', message };
  if (status >= 400 || PROVIDER.test(said)) return { reason: 'provider_error', message };
  return { reason: 'protocol_error', message };
}

const AUTH =
  /\b401\b|\b403\b|authenticat|unauthori[sz]ed|invalid.{0,12}api.?key|api.?key.{0,20}(?:invalid|missing|required)/i;
const PROVIDER =
  /\b(?:4(?:00|04|08|13|29)|5\d\d)\b|overloaded|rate.?limit|quota|api error|model|provider|ECONN(?:REFUSED|RESET)|fetch failed|socket hang up|connection error/i;

/** The end of an agent whose process was over before its turn was. */
export function endingOfExit(exit: Exit, during: string, stderrTail: string): Ending {
  const how = exit.signal === null ? `exit code ${exit.code ?? 'unknown'}` : `signal ${exit.signal}`;
  const oom = exit.signal === 'SIGKILL' ? ' (the system may have been out of memory)' : '';
  const said = stderrTail === '' ? '' : ` It said: ${stderrTail}`;
  if (exit.known !== undefined) {
    const { reason, message } = exit.known;
    return {
      reason,
      message: shorten(`${message}${said}`),
      exit: exit.code === null && exit.signal === null ? null : { code: exit.code, signal: exit.signal },
    };
  }
  return {
    reason: 'agent_exit',
    message: shorten(`The agent ended during ${during}, with ${how}${oom}.${said}`),
    exit,
  };
}

/** At most about 2 KiB of UTF-8: an eof must fit its line, whatever escapes its message needs. */
export function shorten(text: string): string {
  if (Buffer.byteLength(JSON.stringify(text)) <= MOST) return text;
  let end = Math.min(text.length, MOST);
  while (Buffer.byteLength(JSON.stringify(text.slice(0, end))) > MOST - 8) end = Math.floor(end * 0.9);
  return `${text.slice(0, end).toWellFormed()} […]`;
}

const MOST = 2304;
