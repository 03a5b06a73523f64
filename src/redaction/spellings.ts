/**
 * How a value is spelled where somebody prints it: as it is, within JSON, within a URL, and in base64, wherever it begins in what was
 * encoded.
 */
export function spellingsOf(value: string): { text: string; isBase64: boolean }[] {
  const escaped = JSON.stringify(value).slice(1, -1);
  const component = encodeURIComponent(value.toWellFormed());
  // RFC 3986 reserves more than JavaScript does, and many encoders leave the slash.
  const strict = component.replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const urls = [component, strict, strict.replaceAll('%2F', '/')];
  const lower = urls.map((url) => url.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()));
  const base64 = [0, 1, 2].map((before) => stableBase64(value, before));
  const url64 = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'));
  const plain = new Set([value, escaped, escaped.replaceAll('/', '\\/'), ...urls, ...lower]);
  return [
    ...[...plain].map((text) => ({ text, isBase64: false })),
    ...[...new Set([...base64, ...url64])].map((text) => ({ text, isBase64: true })),
  ];
}

/**
 * What of a value's base64 is the same whatever stands around it.
 *
 * @param before how many bytes stand before it in their group of three
 */
export function stableBase64(value: string, before: number): string {
  const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(value)]);
  return bytes.toString('base64').slice(Math.ceil((before * 8) / 6), Math.floor((bytes.length * 8) / 6));
}
