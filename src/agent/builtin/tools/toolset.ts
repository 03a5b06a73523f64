import type { ToolCallLocation, ToolKind } from '@agentclientprotocol/sdk';
import { bash } from './bash.ts';
import { edit } from './edit.ts';
import { read } from './read.ts';
import { search } from './search.ts';
import { ToolFailure, type AgentTool, type ToolContext, type ToolOutcome } from './tool.ts';
import { write } from './write.ts';

export const tools = { bash, read, write, edit, search };

/** A call as people see it before it runs. */
export interface CallView {
  title: string;
  kind: ToolKind;
  locations: ToolCallLocation[];
  run(): Promise<ToolOutcome>;
}

/** Prepares a call of the model's. A tool or an input that does not exist is a call that fails, with words that help the model. */
export function prepareCall(name: string, input: unknown, context: ToolContext): CallView {
  switch (name) {
    case 'bash':
      return prepare(tools.bash, name, input, context);
    case 'read':
      return prepare(tools.read, name, input, context);
    case 'write':
      return prepare(tools.write, name, input, context);
    case 'edit':
      return prepare(tools.edit, name, input, context);
    case 'search':
      return prepare(tools.search, name, input, context);
    default:
      return failing(name, `There is no tool ${JSON.stringify(name)}. There are: ${Object.keys(tools).join(', ')}.`);
  }
}

function prepare<INPUT>(tool: AgentTool<INPUT>, name: string, input: unknown, context: ToolContext): CallView {
  const parsed = tool.schema.safeParse(input);
  if (!parsed.success) {
    const issues = parsed.error.issues
      .map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`)
      .join('; ');
    return failing(name, `The input of ${name} is not valid: ${issues}.`, tool.kind);
  }
  const { data } = parsed;
  let locations: ToolCallLocation[];
  try {
    locations = tool.locations(data, context);
  } catch (error) {
    return failing(tool.title(data), error instanceof Error ? error.message : String(error), tool.kind);
  }
  return {
    title: tool.title(data),
    kind: tool.kind,
    locations,
    run: async () => {
      try {
        return await tool.run(data, context);
      } catch (error) {
        context.signal.throwIfAborted();
        if (error instanceof ToolFailure) return { text: error.message, failed: true };
        return { text: `${name} failed: ${error instanceof Error ? error.message : String(error)}`, failed: true };
      }
    },
  };
}

function failing(title: string, text: string, kind: ToolKind = 'other'): CallView {
  return { title, kind, locations: [], run: () => Promise.resolve({ text, failed: true }) };
}
