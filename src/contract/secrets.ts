import { z } from 'zod';

/** How many characters of a spelling are looked for; a shorter one is not. */
export const WINDOW = 16;

/**
 * By what a recorder knows a secret that it does not have: for each way the secret is spelled, enough to tell it when it is printed, and
 * too little to find it out. Line breaks are no part of a spelling.
 */
export const secretPrints = z.strictObject({
  salt: z.string(),
  prints: z.array(
    z.strictObject({
      /** Characters of the spelling. */
      length: z.int().min(WINDOW),
      /** A rolling hash over its first {@link WINDOW} characters. */
      head: z.int().min(0).max(0xff_ff_ff_ff),
      /** The first six hex digits of SHA-256 over salt and those characters. */
      check: z.string().length(6),
      /** The same over salt and the whole spelling. */
      whole: z.string().length(6),
      /** Whether it is base64, which may be broken into lines. */
      wraps: z.boolean(),
      /** What it is, for people: `key of anthropic`. */
      what: z.string(),
    }),
  ),
});
export type SecretPrints = z.infer<typeof secretPrints>;

export const noPrints: SecretPrints = { salt: '', prints: [] };
