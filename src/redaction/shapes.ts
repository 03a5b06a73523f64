/**
 * What keys look like, whoever made them: the one list for recorder, gateway and server. Sources: the makers' own documentation and
 * the lists of secret scanners; a length is the shortest that is handed out, so that prose about keys stays as it is.
 */

/** A piece of a text that is a secret. */
export interface Found {
  start: number;
  end: number;
  /** What it is, for people: `anthropic key`. */
  what: string;
  /** It reaches the end of the text, and would go on with characters of this kind; null where it is whole. */
  more: More | null;
}

/** What continues a secret whose text was cut. */
export interface More {
  /** A character of it, as the inside of a character class. */
  of: string;
  /** How many may still come. */
  most: number;
}

interface KeyShape {
  what: string;
  /** How it begins: the source of an expression, without groups. */
  head: string;
  /** The characters behind: the inside of a character class. */
  body: string;
  min: number;
  max?: number;
  /** At the end of a text, so many characters behind its head tell a key that was cut; else {@link TOLD_BY}. */
  told?: number;
}

const WORD = 'A-Za-z0-9';
const DASHED = 'A-Za-z0-9_-';
const DOTTED = 'A-Za-z0-9._-';
/** Of a key that the end of a text cuts, so many characters behind its head tell it, a digit among them. */
const TOLD_BY = 8;

const keys: readonly KeyShape[] = [
  { what: 'anthropic key', head: 'sk-ant-', body: DASHED, min: 16 },
  { what: 'openai key', head: 'sk-(?:proj|svcacct|admin|None)-', body: DASHED, min: 16 },
  { what: 'openrouter key', head: 'sk-or-', body: DASHED, min: 16 },
  // A digit: `sk-` begins words with dashes as well.
  { what: 'key', head: `sk-(?=[${DASHED}]{0,60}[0-9])`, body: DASHED, min: 20 },
  { what: 'stripe key', head: '[sr]k_(?:live|test)_', body: WORD, min: 16 },
  { what: 'google key', head: 'AIza', body: DASHED, min: 35, max: 35 },
  { what: 'google token', head: 'ya29\\.', body: DASHED, min: 20 },
  { what: 'github token', head: 'gh[pousr]_', body: WORD, min: 36 },
  { what: 'github token', head: 'github_pat_', body: `${WORD}_`, min: 22 },
  { what: 'gitlab token', head: 'gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent|imt)-', body: DOTTED, min: 20 },
  { what: 'slack token', head: 'xox[abceoprs]-', body: `${WORD}-`, min: 10 },
  { what: 'slack token', head: 'xapp-', body: `${WORD}-`, min: 20 },
  { what: 'aws key id', head: 'A(?:KI|SI)A', body: 'A-Z0-9', min: 16, max: 16 },
  { what: 'npm token', head: 'npm_', body: WORD, min: 36, told: 16 },
  { what: 'hugging face token', head: 'hf_', body: WORD, min: 30, told: 16 },
  { what: 'pypi token', head: 'pypi-', body: DASHED, min: 40, told: 24 },
  { what: 'groq key', head: 'gsk_', body: WORD, min: 40, told: 16 },
  { what: 'xai key', head: 'xai-', body: WORD, min: 40, told: 16 },
  { what: 'docker token', head: 'dckr_[po]at_', body: DASHED, min: 20 },
  { what: 'JWT', head: `eyJ[${DASHED}]{10,512}\\.eyJ[${DASHED}]{0,1}`, body: DOTTED, min: 9 },
  // Our own: flow/tokens.ts, http/keys.ts.
  { what: 'attempt token', head: 'at_', body: DASHED, min: 43, max: 43, told: 24 },
  { what: 'api key of aideator', head: 'aid_[a-z][a-z0-9]{9}_', body: DASHED, min: 43, max: 43 },
];

/** A whole key, or at the end of the text one that is told already. Not in the middle of a word: `task-…` is none. */
const KEY = new RegExp(`(?<![${WORD}])(?:${keys.map(sourceOf).join('|')})`, 'g');

function sourceOf({ head, body, min, max, told = TOLD_BY }: KeyShape): string {
  const whole = `[${body}]{${min},${max ?? ''}}`;
  const cut = told < min ? `|(?=[${body}]*[0-9])[${body}]{${told},${min - 1}}$` : '';
  return `(${head}(?:${whole}${cut}))`;
}

/** A secret that is told by what stands before it: that stays, the group `secret` does not. */
interface ContextShape {
  what: string;
  pattern: RegExp;
  /** The inside of the character class it consists of. */
  body: string;
}

const TOKEN = 'A-Za-z0-9._~+/=-';
/** Not a reference, a path, a placeholder, nor a mark of ours. */
const PLAIN = '(?![\\s$<{(\\[/~%*])';
/** Visible ASCII but quotes, brackets of the angular kind, comma, semicolon and backslash. */
const VALUE = '!#-&(-+\\--:=?-\\[\\]-_a-~';
/** Visible ASCII that may stand before the @ of a URL. */
const USERINFO = '!#-&(-.0-9;=?A-~';

const contexts: readonly ContextShape[] = [
  {
    what: 'password in a URL',
    pattern: new RegExp(
      `[A-Za-z][A-Za-z0-9+.-]{1,20}:\\\\?/\\\\?/[${USERINFO}]{0,200}:(?<secret>${PLAIN}[${USERINFO}:]{6,300})(?=@)`,
      'dg',
    ),
    body: `${USERINFO}:`,
  },
  {
    what: 'authorization',
    pattern: new RegExp(`\\b(?:[Bb]earer|[Bb]asic)\\s{1,4}(?<secret>(?=[${TOKEN}]{0,200}[0-9])[${TOKEN}]{16,})`, 'dg'),
    body: TOKEN,
  },
  {
    what: 'authorization',
    pattern: new RegExp(
      `(?:authorization|api-key)["']?\\s{0,4}[:=]\\s{0,4}["']?(?:(?:bearer|basic|token)\\s{1,4})?(?<secret>${PLAIN}(?=[${VALUE}]{0,200}[0-9])[${VALUE}]{16,})`,
      'dgi',
    ),
    body: VALUE,
  },
  {
    what: 'secret in a variable',
    pattern: new RegExp(
      `\\b(?:[A-Z0-9]{1,32}_){0,8}(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_[A-Z0-9]{1,32}){0,4}["']?\\s{0,3}[=:]\\s{0,3}["']?(?<secret>${PLAIN}(?=[${VALUE}]{0,200}[0-9])[${VALUE}]{12,})`,
      'dg',
    ),
    body: VALUE,
  },
  {
    what: 'aws secret',
    pattern: new RegExp(`aws_(?:secret_access_key|session_token)\\s{0,4}=\\s{0,4}(?<secret>[A-Za-z0-9/+=]{16,})`, 'dg'),
    body: 'A-Za-z0-9/+=',
  },
  {
    // Its first and last line stay, and say what was there.
    what: 'private key',
    pattern: new RegExp(
      `-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY-----(?:\\s|\\\\[nr]){0,8}(?<secret>[A-Za-z0-9+/=]{24,}[A-Za-z0-9+/=\\s\\\\]{0,16384})`,
      'dg',
    ),
    body: 'A-Za-z0-9+/=\\s\\\\',
  },
];

/**
 * Whether a text, or JSON text, may hold a secret of a known shape: a look that is quick, errs on the side of yes, and knows that in
 * JSON an escape may stand before it or in it.
 */
export function suspectsShape(json: string): boolean {
  return TRIGGER.test(json);
}

const TRIGGER = new RegExp(
  [
    '\\\\u00[2-7]',
    `sk-[${DASHED}]{8}`,
    '[sr]k_(?:live|test)_',
    `AIza[${DASHED}]{8}`,
    'ya29\\.',
    `gh[pousr]_[${WORD}]{8}`,
    'github_pat_',
    `gl[a-z]{2,5}-[${DASHED}]{8}`,
    'xox[a-z]-',
    'xapp-',
    'A(?:KI|SI)A[A-Z0-9]{8}',
    `(?:npm|hf|gsk)_[${WORD}]{8}`,
    '(?:pypi|xai)-',
    'dckr_',
    'eyJ[A-Za-z0-9_-]{10}',
    `at_[${DASHED}]{8}`,
    'aid_[a-z]',
    ':\\\\?/\\\\?/[^\\s/"]{0,200}:[^\\s/"]{0,300}@',
    '(?:[Bb]earer|[Bb]asic)\\s[A-Za-z0-9._~+/=-]{8}',
    '[Aa](?:uthorization|UTHORIZATION)',
    '[Aa](?:pi-key|PI-KEY|pi-Key)',
    '(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)[A-Z0-9_]{0,132}\\\\?["\']?\\s{0,3}[=:]',
    'aws_s',
    'PRIVATE KEY-----',
  ].join('|'),
);

/** Of a key that was found: how long what it begins with is. */
function headLength(key: string, { head }: KeyShape): number {
  return new RegExp(`^${head}`).exec(key)?.[0].length ?? 0;
}

/** All that looks like a secret, in no order; pieces may overlap. */
export function findShapes(text: string): Found[] {
  const found: Found[] = [];
  // Most texts have none, and this is many times quicker than to look for each.
  if (!TRIGGER.test(text)) return found;
  for (const match of text.matchAll(KEY)) {
    const at = match.findIndex((group, index) => index > 0 && group !== undefined);
    const shape = keys[at - 1];
    if (shape === undefined) continue;
    const end = match.index + match[0].length;
    const most = shape.max === undefined ? Infinity : shape.max + headLength(match[0], shape) - match[0].length;
    found.push({
      start: match.index,
      end,
      what: shape.what,
      more: end === text.length && most > 0 ? { of: shape.body, most } : null,
    });
  }
  for (const { what, pattern, body } of contexts) {
    for (const match of text.matchAll(pattern)) {
      const [start, end] = match.indices?.groups?.['secret'] ?? [0, 0];
      found.push({ start, end, what, more: end === text.length ? { of: body, most: Infinity } : null });
    }
  }
  return found;
}
