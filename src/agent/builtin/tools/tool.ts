import type { ToolCallContent, ToolCallLocation, ToolKind } from '@agentclientprotocol/sdk';
import type { z } from 'zod';

/** What a tool gives back: text for the model, content for people. */
export interface ToolOutcome {
  /** What the model reads. */
  text: string;
  failed: boolean;
  /** What people see; the text where there is nothing better. */
  content?: ToolCallContent[];
}

export interface ToolContext {
  /** The session's folder: relative paths begin here, and nothing is written outside of it. */
  cwd: string;
  /** Aborted when the turn is cancelled. */
  signal: AbortSignal;
}

export interface AgentTool<INPUT> {
  description: string;
  schema: z.ZodType<INPUT>;
  kind: ToolKind;
  /** A few words for people. */
  title(input: INPUT): string;
  /** Files it touches, absolute. */
  locations(input: INPUT, context: ToolContext): ToolCallLocation[];
  /** Rejects with a ToolFailure where it could not be done: the model is told and goes on. */
  run(input: INPUT, context: ToolContext): Promise<ToolOutcome>;
}

/** Something a model can read and do better. */
export class ToolFailure extends Error {
  override readonly name = 'ToolFailure';
}

export function done(text: string, content?: ToolCallContent[]): ToolOutcome {
  return content === undefined ? { text, failed: false } : { text, failed: false, content };
}
