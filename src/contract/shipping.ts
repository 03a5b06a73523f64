/** What a shipped variation is as a commit: the same wherever it is made, so the same choice shipped twice is the same commit. */

export const SHIP_AUTHOR = { name: 'AIdeator', email: 'aideator@localhost' } as const;

export function shipBranchName(runId: string, variation: number): string {
  return `aideator/${runId}-${variation}`;
}

/** The commit's message where a person gives none. */
export function shipMessage(
  run: { id: string; prompt: string },
  variation: { index: number; agent: string; model: string; strategy: string | null },
): string {
  const [firstLine = ''] = run.prompt.trim().split('\n');
  const title = firstLine.length > 72 ? `${firstLine.slice(0, 71).toWellFormed()}…` : firstLine;
  const by = [variation.agent, variation.model, variation.strategy].filter((word) => word !== null).join(', ');
  return `${title}\n\nAIdeator run ${run.id}, variation ${variation.index} (${by}).\n`;
}
