import { z } from 'zod';
import { lineage, MAX_PROMPT_BYTES, variationRequest } from './api.ts';

/** The API's bodies of steering: what a variation is told after the run was submitted, and variations made from others. */

/** Prompts of one variation that may wait at a time. */
export const MAX_WAITING_PROMPTS = 8;

const prompt = z.string().meta({ description: `At most ${MAX_PROMPT_BYTES} bytes of UTF-8.` });

export const promptRequest = z.strictObject({ prompt }).meta({ id: 'PromptRequest' });
export type PromptRequest = z.infer<typeof promptRequest>;

const notes = z.array(z.string()).optional().meta({ description: 'What is worth knowing of it.' });

export const prompted = z
  .object({
    run_id: z.string(),
    variation_id: z.int(),
    /** Its number: events of it (`prompt_queued`, `prompt_dropped`) have it, too. */
    prompt_id: z.int(),
    becomes: z.enum(['next_turn', 'new_attempt']).meta({
      description:
        '`next_turn`: of the attempt under way, in the same session, when its turn ends; that attempt’s limits go on. `new_attempt`: one that goes on from the last.',
    }),
    /** Prompts that wait, this one included. */
    waiting: z.int(),
    notes,
  })
  .meta({ id: 'Prompted' });
export type Prompted = z.infer<typeof prompted>;

export const forkRequest = variationRequest
  .extend({
    from: z
      .int()
      .min(0)
      .meta({ description: 'The variation whose work tree and conversation the new one starts from.' }),
    attempt: z.int().min(0).optional().meta({
      description:
        'Which of its attempts; the newest that left work when left out. One that is named may have ended while the variation goes on.',
    }),
    prompt,
  })
  .meta({ id: 'ForkRequest' });
export type ForkRequest = z.infer<typeof forkRequest>;

export const forked = z
  .object({ run_id: z.string(), variation_id: z.int(), forked_from: lineage, notes })
  .meta({ id: 'Forked' });
export type Forked = z.infer<typeof forked>;
