/** Whether git would take it over the network: a URL, or `host:path` as ssh has it; a path of some machine otherwise. */
export function isAddress(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) || /^[^/:]+:(?!\\)./.test(text);
}
