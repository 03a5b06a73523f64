import type { Config } from '../config.ts';
import type { SecretPrints } from '../contract/secrets.ts';
import type { ProviderConfig } from '../gateway/gateway.ts';
import { createFinder, type Finder } from '../redaction/finder.ts';
import { isStrong, partsOf, printsOf, type Secret } from '../redaction/prints.ts';
import { createWithPiece, type WithPiece } from '../redaction/pieces.ts';
import { redactJson, redactText, type OnFound } from '../redaction/redact.ts';
import { createTextStream, type TextStream } from '../redaction/text-stream.ts';

/**
 * What this server knows and nobody else is to see: the one place that has the values. Others have a finder, or the prints for a
 * recorder. A value that was known once stays known: what was said with it may still come.
 */
export interface Secrets {
  /** Of all that is known now: a key's file may have changed since. */
  finder(): Finder;
  /** By what recorders know the same, but for values that could be guessed from it. */
  prints(): SecretPrints;
  /** One more, from now on. */
  learn(value: string, what: string): void;
  /** Providers whose keys may change while the server runs. */
  follow(providers: Readonly<Record<string, ProviderConfig>>): void;
  /** A text without secrets. */
  text(text: string): string;
  /** JSON text without secrets in its strings; as it was where there are none. */
  json(json: string, onFound?: OnFound): string;
  /** For all that one attempt says, in its order. */
  cleaner(onFound?: OnFound): Cleaner;
}

/** Takes secrets out of what an attempt says. Its recorder has done that already, unless it is an older one, or none of ours. */
export interface Cleaner {
  json(json: string): string;
  /** A message with the next piece of the attempt's text of this kind, and that piece. Nothing waits here: of a secret that is cut, fewer than 16 characters pass. */
  piece(kind: string, payload: string, text: string): { payload: string; content: string };
}

/** What is made of all that is known. */
interface Made {
  finder: Finder;
  withPiece: WithPiece;
  prints: SecretPrints;
}

/** How often the files of keys are looked at (ms). */
const LOOK_MS = 1000;
/** Values learned since the start: so many passwords of addresses are remembered. */
const MOST_LEARNED = 1000;

export function createSecrets(config: Pick<Config, 'keys' | 'providers' | 'api_key' | 'agents' | 'env'>): Secrets {
  /** What each part of a value is. */
  const known = new Map<string, string>();
  let providers: Readonly<Record<string, ProviderConfig>> = {};
  let lookedAt = -Infinity;
  let made: Made | null = null;
  let learned = 0;

  function add({ value, what }: Secret): boolean {
    let isNews = false;
    for (const part of partsOf(value)) {
      if (known.has(part)) continue;
      known.set(part, what);
      isNews = true;
    }
    if (isNews) made = null;
    return isNews;
  }

  function look(): void {
    if (performance.now() - lookedAt < LOOK_MS) return;
    lookedAt = performance.now();
    for (const [name, { key }] of Object.entries(providers)) {
      if (key !== null) add({ value: key, what: `key of ${name}` });
    }
  }

  function current(): Made {
    look();
    if (made !== null) return made;
    const secrets = [...known].map(([value, what]) => ({ value, what }));
    const finder = createFinder([printsOf(secrets)]);
    made = {
      finder,
      withPiece: createWithPiece(finder),
      prints: printsOf(secrets.filter(({ value }) => isStrong(value))),
    };
    return made;
  }

  for (const secret of secretsOf(config)) add(secret);
  return {
    finder: () => current().finder,
    prints: () => current().prints,
    learn: (value, what) => {
      if (learned < MOST_LEARNED && add({ value, what })) learned += 1;
    },
    follow: (followed) => {
      providers = followed;
      lookedAt = -Infinity;
    },
    text: (text) => redactText(current().finder, text),
    json: (json, onFound) => redactJson(current().finder, json, onFound),
    cleaner: (onFound) => {
      const streams = new Map<string, TextStream>();
      return {
        json: (json) => redactJson(current().finder, json, onFound),
        piece: (kind, payload, text) => {
          let stream = streams.get(kind);
          if (stream === undefined) {
            stream = createTextStream(current().finder, onFound);
            streams.set(kind, stream);
          }
          const clean = [...stream.take(text), ...stream.flush()].join('');
          const { withPiece } = current();
          return { payload: withPiece(payload, { piece: text, clean }, onFound), content: clean };
        },
      };
    },
  };
}

/** Names of variables whose value is a secret. */
const TELLING =
  /(?:^|_)(?:API_?KEY|KEY|TOKEN|PAT|SECRET|PASS|PASSWD|PASSWORD|PASSPHRASE|CREDENTIALS?|AUTH|COOKIE)(?:_|\d*$)/i;

/** Headers whose value is none, however long. */
const HARMLESS = /^(?:accept.*|user-agent|referer|http-referer|x-title|anthropic-(?:version|beta)|openai-beta)$/;

/** What a configuration and an environment hold of secrets. */
function* secretsOf(config: Parameters<typeof createSecrets>[0]): Generator<Secret> {
  for (const [name, { key }] of Object.entries(config.keys)) {
    if (key !== null) yield { value: key, what: `key of ${name}` };
  }
  for (const [name, { headers = {}, base_url: baseUrl = '' }] of Object.entries(config.providers)) {
    for (const [header, value] of Object.entries(headers)) {
      if (!HARMLESS.test(header)) yield* spelledOut(value, `header of ${name}`);
    }
    yield* passwordIn(baseUrl, `password of ${name}`);
  }
  if (config.api_key !== null) yield { value: config.api_key, what: 'api key of aideator' };
  for (const [name, { env }] of Object.entries(config.agents)) yield* inEnvironment(env, `of the agent ${name}`);
  yield* inEnvironment(config.env, 'of the environment');
}

function* inEnvironment(env: Readonly<Record<string, string | undefined>>, whose: string): Generator<Secret> {
  for (const [name, value = ''] of Object.entries(env)) {
    yield* passwordIn(value, `password ${whose}`);
    // A path or a socket, not what lies there; an address is no secret but for its password.
    const isPlace = value.startsWith('/') || value.includes('://') || value.includes('{');
    if (TELLING.test(name) && !isPlace) yield* spelledOut(value, `${name} ${whose}`);
  }
}

/** A value, and where it is a `Basic` one what it means. */
function* spelledOut(value: string, what: string): Generator<Secret> {
  yield { value, what };
  const basic = /^Basic\s+(\S+)$/i.exec(value)?.[1];
  if (basic === undefined) return;
  const [, password] = /^[^:]*:(.+)$/s.exec(Buffer.from(basic, 'base64').toString()) ?? [];
  if (password !== undefined) yield { value: password, what };
}

/** The passwords of a text that is an address, as written and as meant. */
export function* passwordIn(address: string, what: string): Generator<Secret> {
  const userinfo = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#]*)@/.exec(address)?.[1];
  if (userinfo === undefined) return;
  // A user name alone, as long as a token, is one.
  for (const each of userinfo.split(':')) {
    yield { value: each, what };
    const meant = decoded(each);
    if (meant !== each) yield { value: meant, what };
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
