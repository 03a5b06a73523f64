import { AppError } from '../../../errors.ts';
import type { Credentials } from './credentials.ts';
import type { ExchangeFailure } from './exchange.ts';

/** A failed connection in words: what happened, where the address is from, and what to look at. */
export function unreachable(failure: ExchangeFailure, credentials: Credentials): AppError {
  const { origin } = credentials.server;
  const hint = hintFor(failure);
  return new AppError('cluster_unreachable', `The Kubernetes API at ${origin} ${whatHappened(failure)}`, {
    cause: failure,
    hint: `${hint} The address is from ${credentials.source}.`,
    details: { kind: failure.kind, ...(failure.code === null ? {} : { reason: failure.code }) },
  });
}

function whatHappened(failure: ExchangeFailure): string {
  switch (failure.kind) {
    case 'connect':
      return `cannot be reached: ${failure.message}`;
    case 'connect_timeout':
      return 'did not accept a connection in time';
    case 'tls':
      return `is not trusted: ${failure.message}`;
    case 'timeout':
      return 'did not answer in time';
    case 'stalled':
      return 'was silent for too long';
    case 'reset':
      return `broke off: ${failure.message}`;
    case 'aborted':
      return 'was not waited for';
    case 'consumer':
      return `gave an answer that could not be used: ${failure.message}`;
  }
}

function hintFor(failure: ExchangeFailure): string {
  if (failure.kind === 'tls') {
    switch (failure.code) {
      case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      case 'UNABLE_TO_GET_ISSUER_CERT':
      case 'SELF_SIGNED_CERT_IN_CHAIN':
      case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      case 'CERT_SIGNATURE_FAILURE':
        return 'Its certificate is not signed by the certificate authority we were given: check certificate-authority(-data).';
      case 'CERT_HAS_EXPIRED':
      case 'CERT_NOT_YET_VALID':
        return 'Check the clock of this machine, and renew the certificate of the API server.';
      case 'ERR_TLS_CERT_ALTNAME_INVALID':
        return 'Its certificate is for other names than that address: use one of them, or set tls-server-name.';
      default:
        return 'Check certificate-authority, client-certificate and client-key: they may not belong together, or not be PEM.';
    }
  }
  if (failure.code === 'ENOTFOUND' || failure.code === 'EAI_AGAIN')
    return 'That host name is not known here: check DNS.';
  if (failure.code === 'ECONNREFUSED') return 'Nothing listens there: is the cluster up?';
  return 'Check that the cluster is up and that this machine may reach it (firewall, VPN, NetworkPolicy).';
}
