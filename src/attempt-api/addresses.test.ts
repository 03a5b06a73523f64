import { networkInterfaces } from 'node:os';
import { expect, test } from 'vitest';
import { kindOfAddress, kindOfAddressHere } from './addresses.ts';

test.each([
  [
    'public',
    '8.8.8.8',
    '172.15.255.255',
    '172.32.0.1',
    '100.128.0.1',
    '192.0.3.1',
    '2606:4700::1111',
    '64:ff9b::808:808',
    '2001:4860::8',
  ],
  [
    'private',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    'fd12::1',
    'fc00::1',
    '64:ff9b::a00:1',
  ],
  [
    'special',
    ...[
      '127.0.0.1',
      '127.8.9.1',
      '0.0.0.0',
      '0.1.2.3',
      '169.254.169.254',
      '224.0.0.1',
      '239.255.255.250',
      '255.255.255.255',
      '192.0.2.7',
    ],
    ...[
      '::',
      '::1',
      'fe80::1',
      'fe80::1%eth0',
      'ff02::1',
      'fec0::1',
      '::ffff:8.8.8.8',
      '::ffff:10.0.0.1',
      '::8.8.8.8',
      '2002:a00:1::',
    ],
    ...[
      '64:ff9b::7f00:1',
      '64:ff9b::a9fe:a9fe',
      '64:ff9b::',
      '64:ff9b:1::1',
      '2001::1',
      '2001:db8::1',
      '100::1',
      'no address',
      '',
    ],
  ],
])('%s: %s', (kind, ...addresses) => {
  for (const address of addresses) expect([address, kindOfAddress(address)]).toEqual([address, kind]);
});

test('an address that this machine has is this machine, whatever network it is of', () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  expect(own.map((address) => [address, kindOfAddressHere(address)])).toEqual(own.map((each) => [each, 'special']));
  expect(kindOfAddressHere('8.8.8.8')).toBe('public');
  expect(kindOfAddressHere('2001:4860::8')).toBe('public');
});
