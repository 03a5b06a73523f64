import type { EndReason, Limits } from '../contract/run.ts';
import type { OutputCounts } from './agent-output.ts';
import type { Conversation } from './conversation.ts';

export interface SilenceOptions {
  output: Readonly<OutputCounts>;
  conversation: Pick<Conversation, 'phase' | 'promptedAt'>;
  limits: Pick<Limits, 'start_timeout_seconds' | 'silence_seconds'>;
  ask(reason: EndReason, message: string): void;
}

/** Two clocks: until the prompt could be sent, and since the agent's last message. One timer that is set anew, not one per message. */
export function watchSilence(options: SilenceOptions): { stop(): void } {
  const { output, conversation, limits, ask } = options;
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const at = performance.now();
    if (conversation.promptedAt === null) {
      const left = started + limits.start_timeout_seconds * 1000 - at;
      if (left <= 0) neverReady();
      else timer = setTimeout(look, Math.min(left, limits.silence_seconds * 1000));
      return;
    }
    const since = Math.max(conversation.promptedAt, output.lastMessageAt ?? 0);
    const left = since + limits.silence_seconds * 1000 - at;
    if (left <= 0) ask('silent', `The agent sent no message for ${limits.silence_seconds} s.`);
    else timer = setTimeout(look, left);
  }

  function neverReady(): void {
    const within = `within ${limits.start_timeout_seconds} s`;
    if (output.messages === 0 && output.unparsed > 0) {
      ask(
        'protocol_error',
        `The agent printed ${output.unparsed} lines, none of them an ACP message, and did not answer ${conversation.phase} ${within}.`,
      );
    } else {
      ask('silent', `The agent did not answer ${conversation.phase} ${within}.`);
    }
  }

  look();
  return { stop: () => clearTimeout(timer) };
}
