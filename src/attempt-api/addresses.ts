import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

/**
 * What an IP address is of: the internet, a private network, or neither (this machine, its link, many at once, reserved, or another
 * protocol's address in it). By IANA's registries of special-purpose addresses (RFC 6890), for IPv4 and IPv6.
 */
export type AddressKind = 'public' | 'private' | 'special';

/** @param address as `dns.lookup` and `socket.remoteAddress` write them */
export function kindOfAddress(address: string): AddressKind {
  const bare = address.split('%', 1)[0] ?? '';
  switch (isIP(bare)) {
    case 4:
      if (private4.check(bare)) return 'private';
      return special4.check(bare) ? 'special' : 'public';
    case 6: {
      if (private6.check(bare, 'ipv6')) return 'private';
      const translated = nat64.check(bare, 'ipv6') ? lastFour(bare) : null;
      // A network without IPv4 reaches it so (RFC 6052), and what is behind counts.
      if (translated !== null) return kindOfAddress(translated);
      return global6.check(bare, 'ipv6') && !special6.check(bare, 'ipv6') ? 'public' : 'special';
    }
    default:
      return 'special';
  }
}

/** The same where this machine's own addresses, whatever network they are of, are this machine. Asked anew each time: they change. */
export function kindOfAddressHere(address: string): AddressKind {
  const kind = kindOfAddress(address);
  if (kind === 'special') return kind;
  const isOwn = Object.values(networkInterfaces()).some((all) => all?.some((own) => isSame(own.address, address)));
  return isOwn ? 'special' : kind;
}

/** However they are spelt. */
function isSame(one: string, other: string): boolean {
  const list = new BlockList();
  const [first = '', second = ''] = [one, other].map((each) => each.split('%', 1)[0]);
  if (isIP(first) !== isIP(second)) return false;
  const family = isIP(first) === 6 ? 'ipv6' : 'ipv4';
  list.addAddress(first, family);
  return list.check(second, family);
}

const private4 = listOf('ipv4', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']);
const special4 = listOf('ipv4', [
  '0.0.0.0/8',
  '127.0.0.0/8',
  // Link-local, and in it what clouds tell their machines.
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
]);
const private6 = listOf('ipv6', ['fc00::/7']);
const nat64 = listOf('ipv6', ['64:ff9b::/96']);
/** All that is given out; loopback, link-local, multicast and IPv4-mapped are outside. */
const global6 = listOf('ipv6', ['2000::/3']);
/** Of that: protocols' own (Teredo too), documentation, 6to4. */
const special6 = listOf('ipv6', ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']);

function listOf(family: 'ipv4' | 'ipv6', subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [net = '', bits] = subnet.split('/');
    list.addSubnet(net, Number(bits), family);
  }
  return list;
}

/** The last 32 bits of an IPv6 address, as IPv4 is written. */
function lastFour(address: string): string {
  const [head = '', tail = ''] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const before = head.split(':').filter((group) => group !== '');
  const after = tail.split(':').filter((group) => group !== '');
  const groups = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after];
  return groups
    .slice(-2)
    .map((group) => Number.parseInt(group, 16))
    .flatMap((group) => [group >> 8, group & 0xff])
    .join('.');
}
