/**
 * The one error class and the closed list of codes. Thrown inside, translated at exactly two edges: HTTP
 * (RFC 9457 problem+json) and `main.ts` (exit code and a message).
 */

/** Who has to act: the `user` (bad input), the `operator` (configuration, machine), or `us` (a fault of ours). */
export type Blame = 'user' | 'operator' | 'us';

interface CodeFacts {
  /** HTTP status. */
  status: number;
  /** Exit status of the CLI: 1 our fault, 2 usage, 3 not found or refused, 4 conflict, 5 configuration or machine, 6 server unreachable. */
  exit: number;
  blame: Blame;
  title: string;
}

/** The closed list of error codes. A code is public: it is never renamed, only added. */
export const errorCodes = {
  invalid_request: { status: 400, exit: 2, blame: 'user', title: 'The request is not valid' },
  invalid_encoding: { status: 400, exit: 2, blame: 'user', title: 'The text is not UTF-8' },
  invalid_json: { status: 400, exit: 2, blame: 'user', title: 'The body is not JSON' },
  invalid_prompt: { status: 422, exit: 2, blame: 'user', title: 'The prompt cannot be used' },
  invalid_variations: { status: 422, exit: 2, blame: 'user', title: 'The variations cannot be run' },
  invalid_cursor: { status: 400, exit: 2, blame: 'user', title: 'The cursor is not valid' },
  unknown_agent: { status: 422, exit: 2, blame: 'user', title: 'No such agent' },
  agent_missing: { status: 422, exit: 5, blame: 'operator', title: 'The agent is not installed' },
  agent_install_failed: { status: 502, exit: 5, blame: 'operator', title: 'The agent could not be installed' },
  unknown_model: { status: 422, exit: 2, blame: 'user', title: 'No such model' },
  price_unknown: { status: 422, exit: 2, blame: 'user', title: 'The model has no price' },
  budget_exhausted: { status: 402, exit: 3, blame: 'user', title: 'The budget is used up' },
  budget_reserved: { status: 429, exit: 3, blame: 'user', title: 'The budget is set aside for calls under way' },
  unknown_strategy: { status: 422, exit: 2, blame: 'user', title: 'No such strategy' },
  repository_not_found: { status: 422, exit: 3, blame: 'user', title: 'The repository was not found' },
  repository_not_git: { status: 422, exit: 3, blame: 'user', title: 'Not a git repository' },
  repository_empty: { status: 422, exit: 3, blame: 'user', title: 'The repository has no commit' },
  repository_unreachable: { status: 422, exit: 3, blame: 'user', title: 'The repository could not be reached' },
  repository_auth_required: { status: 422, exit: 3, blame: 'user', title: 'The repository needs a password or a key' },
  unknown_ref: { status: 422, exit: 3, blame: 'user', title: 'No such branch, tag or commit' },
  not_pushed: { status: 409, exit: 4, blame: 'user', title: 'The commit is not on the remote' },
  provider_key_missing: { status: 422, exit: 5, blame: 'operator', title: 'No key for the model provider' },
  provider_key_refused: { status: 502, exit: 5, blame: 'operator', title: 'The provider refused the key' },
  provider_error: { status: 502, exit: 5, blame: 'operator', title: 'The model provider failed' },
  model_not_allowed: { status: 403, exit: 3, blame: 'user', title: 'This attempt may not use that model' },
  unauthorized: { status: 401, exit: 3, blame: 'user', title: 'An API key is needed' },
  forbidden: { status: 403, exit: 3, blame: 'user', title: 'Not allowed' },
  origin_refused: { status: 403, exit: 3, blame: 'user', title: 'Requests from that origin are refused' },
  not_found: { status: 404, exit: 3, blame: 'user', title: 'Not found' },
  run_not_found: { status: 404, exit: 3, blame: 'user', title: 'No such run' },
  variation_not_found: { status: 404, exit: 3, blame: 'user', title: 'No such variation' },
  method_not_allowed: { status: 405, exit: 2, blame: 'user', title: 'Method not allowed' },
  already_chosen: { status: 409, exit: 4, blame: 'user', title: 'Another variation was chosen already' },
  not_chosen: { status: 409, exit: 4, blame: 'user', title: 'No variation was chosen yet' },
  nothing_to_ship: { status: 409, exit: 4, blame: 'user', title: 'That variation has no patch' },
  not_finished: { status: 409, exit: 4, blame: 'user', title: 'Not finished yet' },
  not_retryable: { status: 409, exit: 4, blame: 'user', title: 'That variation cannot be retried' },
  nothing_to_continue: { status: 409, exit: 4, blame: 'user', title: 'There is no work to go on from' },
  run_time_up: { status: 409, exit: 4, blame: 'user', title: 'The run’s time is up' },
  run_active: { status: 409, exit: 4, blame: 'user', title: 'The run is still active' },
  branch_exists: { status: 409, exit: 4, blame: 'user', title: 'The branch exists already' },
  branch_checked_out: { status: 409, exit: 4, blame: 'user', title: 'The branch is checked out' },
  invalid_branch: { status: 422, exit: 2, blame: 'user', title: 'Not a branch name' },
  patch_does_not_apply: { status: 409, exit: 4, blame: 'user', title: 'The patch does not apply' },
  patch_invalid: { status: 500, exit: 1, blame: 'us', title: 'The patch is not valid' },
  ship_failed: { status: 502, exit: 4, blame: 'user', title: 'The repository refused the branch' },
  idempotency_conflict: {
    status: 409,
    exit: 4,
    blame: 'user',
    title: 'The idempotency key was used for another request',
  },
  payload_too_large: { status: 413, exit: 2, blame: 'user', title: 'The body is too large' },
  unsupported_media_type: { status: 415, exit: 2, blame: 'user', title: 'The body must be JSON' },
  too_many_requests: { status: 429, exit: 4, blame: 'user', title: 'Too many requests' },
  too_many_streams: { status: 503, exit: 6, blame: 'operator', title: 'Too many open event streams' },
  invalid_config: { status: 500, exit: 5, blame: 'operator', title: 'The configuration is not valid' },
  database_corrupt: { status: 500, exit: 5, blame: 'operator', title: 'The database is damaged' },
  database_newer: { status: 500, exit: 5, blame: 'operator', title: 'The database is newer than this program' },
  data_dir_readonly: { status: 500, exit: 5, blame: 'operator', title: 'The data directory cannot be written' },
  data_dir_locked: { status: 500, exit: 5, blame: 'operator', title: 'Another server uses the data directory' },
  disk_full: { status: 507, exit: 5, blame: 'operator', title: 'The disk is full' },
  port_in_use: { status: 500, exit: 5, blame: 'operator', title: 'The port is in use' },
  exposed_without_key: {
    status: 500,
    exit: 5,
    blame: 'operator',
    title: 'Refusing to listen beyond this machine without an API key',
  },
  tool_missing: { status: 500, exit: 5, blame: 'operator', title: 'A program is missing or too old' },
  git_failed: { status: 500, exit: 1, blame: 'us', title: 'A git command failed' },
  sandbox_unavailable: { status: 409, exit: 5, blame: 'operator', title: 'No sandbox works here' },
  unknown_image: { status: 422, exit: 2, blame: 'user', title: 'No such image' },
  attempt_taken: { status: 409, exit: 4, blame: 'us', title: 'Another pod has the attempt' },
  upload_offset: { status: 409, exit: 4, blame: 'us', title: 'The upload does not go on where it stopped' },
  upload_damaged: { status: 422, exit: 4, blame: 'us', title: 'The upload is not what was announced' },
  cluster_unreachable: { status: 503, exit: 6, blame: 'operator', title: 'The Kubernetes API cannot be reached' },
  cluster_refused: { status: 500, exit: 5, blame: 'operator', title: 'The Kubernetes API refused a request' },
  attempt_start_failed: { status: 500, exit: 1, blame: 'us', title: 'The attempt could not be started' },
  shutting_down: { status: 503, exit: 6, blame: 'operator', title: 'The server is shutting down' },
  server_unreachable: { status: 503, exit: 6, blame: 'operator', title: 'The server cannot be reached' },
  not_aideator: { status: 502, exit: 6, blame: 'operator', title: 'Something else answered in the server’s place' },
  internal: { status: 500, exit: 1, blame: 'us', title: 'An internal error' },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof errorCodes;

/**
 * An error that says what happened (`message`), and what to do about it (`hint`).
 * `status`, `exitCode` and `blame` follow from the code.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  /** Extra facts for the problem document, e.g. `{ first_available: 12 }`. Never a secret. */
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }

  get status(): number {
    return errorCodes[this.code].status;
  }

  get exitCode(): number {
    return errorCodes[this.code].exit;
  }

  get blame(): Blame {
    return errorCodes[this.code].blame;
  }

  get title(): string {
    return errorCodes[this.code].title;
  }
}

/** Any thrown value as an AppError; what is not one already is a fault of ours (`internal`). */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new AppError('internal', message, { cause: thrown });
}
