import { z } from 'zod';

/**
 * The protocols that models are spoken to in: Anthropic Messages, OpenAI Chat Completions, OpenAI Responses, Gemini
 * generateContent.
 */
export const DIALECTS = ['anthropic', 'openai', 'responses', 'gemini'] as const;
export type Dialect = (typeof DIALECTS)[number];
export const dialect = z.enum(DIALECTS);

/** What a provider is: the maker whose protocols it speaks, or a script. */
export const PROVIDER_KINDS = ['anthropic', 'openai', 'gemini', 'scripted'] as const;
export type ProviderKind = (typeof PROVIDER_KINDS)[number];

/** The protocols of each kind of provider; the first is taken where nobody says which. */
export const spokenBy: Readonly<Record<ProviderKind, readonly [Dialect, ...Dialect[]]>> = {
  anthropic: ['anthropic'],
  openai: ['openai', 'responses'],
  gemini: ['gemini'],
  scripted: DIALECTS,
};
