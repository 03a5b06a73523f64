import { isIP } from 'node:net';
import { z } from 'zod';

/** An entry of `sandbox.allow_hosts`, understood. */
export interface AllowedHost {
  /** In one spelling (see {@link hostOf}); of `*.example.com` what stands behind the `*.`. */
  host: string;
  /** Any name below `host`, and not `host` itself. */
  isWildcard: boolean;
  port: number;
  /** Its names may have an address of a private network. */
  allowsPrivate: boolean;
}

/** Where a connection is asked for. */
export interface HostAndPort {
  /** In one spelling, see {@link hostOf}. IPv6 without brackets. */
  host: string;
  port: number;
}

const HTTPS = 443;

/** `host`, `host:port`, `*.domain`, an IP address ([] around IPv6); ` private` behind it. */
export const allowedHost = z
  .string()
  .superRefine((entry, context) => {
    const parsed = parseAllowedHost(entry);
    if (typeof parsed === 'string')
      context.addIssue({ code: 'custom', message: `${JSON.stringify(entry)}: ${parsed}` });
  })
  .meta({ description: '`host`, `host:port`, `*.domain` or an IP address; 443 where no port is named.' });

/** Understands an entry; what is wrong with it, in words, where it cannot be. */
export function parseAllowedHost(entry: string): AllowedHost | string {
  const [, text = '', flag] = /^(\S+)(?: +(\S+))?$/.exec(entry.trim()) ?? [];
  if (text === '') return 'write `host`, `host:port` or `*.domain`';
  if (text.includes('/')) return 'write the host alone, with neither a scheme nor a path';
  if (flag !== undefined && flag !== 'private') return 'only `private` may stand behind a host';
  const allowsPrivate = flag === 'private';
  const isWildcard = text.startsWith('*.');
  const { name, port } = splitPort(isWildcard ? text.slice(2) : text);
  if (port !== undefined && !isPort(port)) return 'its port must be 1 to 65535';
  const host = hostOf(name);
  if (host === null || name.includes('*')) {
    return name.includes('*')
      ? 'a `*` may stand for the first part of a name only: `*.example.com`'
      : 'this is no host';
  }
  if (/(?:^|\.)localhost$/.test(host)) return 'an agent’s localhost is its own; name this machine by an address of it';
  if (isIP(host) !== 0 && (isWildcard || allowsPrivate)) return 'an IP address is allowed as it stands: write it alone';
  return { host, isWildcard, port: Number(port ?? HTTPS), allowsPrivate };
}

/** The `host:port` of a CONNECT (RFC 9110, 9.3.6: both, and nothing else); null where it is none. */
export function parseTarget(authority: string): HostAndPort | null {
  // ASCII, as HTTP has it: who means a name in other letters writes it in punycode.
  if (!/^[!-~]+$/.test(authority)) return null;
  const { name, port } = splitPort(authority);
  const host = port === undefined || !isPort(port) ? null : hostOf(name);
  return host === null ? null : { host, port: Number(port) };
}

/** The entry that allows a target; undefined where none does. */
export function findAllowed(entries: readonly AllowedHost[], { host, port }: HostAndPort): AllowedHost | undefined {
  const isAddress = isIP(host) !== 0;
  const covers = (entry: AllowedHost): boolean =>
    entry.port === port && (entry.isWildcard ? !isAddress && host.endsWith(`.${entry.host}`) : entry.host === host);
  const all = entries.filter((entry) => covers(entry));
  return all.find(({ allowsPrivate }) => allowsPrivate) ?? all[0];
}

/** `host:port`, with brackets where it needs them. */
export function targetText({ host, port }: HostAndPort): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/**
 * A host in the one spelling it is compared in: lower case, punycode, no dot at the end, IP addresses as `1.2.3.4` and as RFC 5952 has
 * them, however they were written (`0x7f.1`, `2130706433`, `[::FFFF:7f00:1]`). Null where it is no host.
 */
function hostOf(text: string): string | null {
  // What would mean something else in a URL: userinfo, path, query, escapes.
  if (!/^[^\s/?#@\\%:[\]]+$/.test(text) && !/^\[[0-9a-f:.]+\]$/i.test(text)) return null;
  const url = `http://${text}/`;
  // The URL Standard's host parser knows all those spellings, as browsers and Node do.
  if (!URL.canParse(url)) return null;
  const host = new URL(url).hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  return isIP(host) !== 0 || (host.length <= 253 && NAME.test(host)) ? host : null;
}

const NAME = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

function splitPort(text: string): { name: string; port: string | undefined } {
  const found = /^(\[[^\]]*\]|[^:]*):([^:]*)$/.exec(text);
  return found === null ? { name: text, port: undefined } : { name: found[1] ?? '', port: found[2] };
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535;
}
