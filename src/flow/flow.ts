import type {
  Comparison,
  EventPage,
  Run,
  RunPage,
  RunStatusView,
  SelectRequest,
  Shipped,
  ShipRequest,
  SubmitRequest,
  Submitted,
  VariationView,
} from '../contract/api.ts';
import type { Forked, ForkRequest, Prompted, PromptRequest } from '../contract/api-steering.ts';
import type { DoctorReport, Info } from '../contract/api-system.ts';
import type { RunStatus } from '../contract/run.ts';
import type { AgentInstalls } from './agent-installs.ts';

/** The house's spine as the public door sees it: a file a step beside this one. Errors are AppErrors. */
export interface Flow {
  submit(request: SubmitRequest): Promise<Submitted>;
  list(query: { cursor?: string | undefined; limit: number; status?: RunStatus | undefined }): Promise<RunPage>;
  run(runId: string): Promise<Run>;
  status(runId: string): Promise<RunStatusView>;
  variation(runId: string, variation: number): Promise<VariationView>;
  outputs(runId: string, query: { after: number; limit: number; variation?: number | undefined }): Promise<EventPage>;
  compare(runId: string): Promise<Comparison>;
  /** The exact bytes of a variation's patch. */
  patch(runId: string, variation: number): Promise<Buffer>;
  /** The diff from A's tree to B's, as git prints it. */
  diff(runId: string, a: number, b: number): Promise<Buffer>;
  select(runId: string, request: SelectRequest): Promise<Run>;
  ship(runId: string, request: ShipRequest): Promise<Shipped>;
  /** Cancels a run, or one variation of it. Idempotent. */
  cancel(runId: string, variation?: number): Promise<Run>;
  retry(runId: string, variation: number): Promise<Run>;
  /** Tells a variation what to do next: the next turn of its session, or a new attempt that goes on from its last. */
  prompt(runId: string, variation: number, request: PromptRequest): Promise<Prompted>;
  /** A new variation from another's work tree and conversation. */
  fork(runId: string, request: ForkRequest): Promise<Forked>;
  /** Cancels, then forgets. True when it is gone already, false while something still has to stop. */
  forget(runId: string): Promise<boolean>;
  agents: Pick<AgentInstalls, 'list' | 'view' | 'install'>;
  info(): Promise<Info>;
  /** Whether attempts can run where this server runs them; with `probe` by running something for a moment. */
  doctor(options: { probe: boolean }): Promise<DoctorReport>;
  /** How many runs and variations are in which status, for the metrics. */
  states(): Promise<{ runs: Record<string, number>; variations: Record<string, number> }>;
  /** What a stream needs: the run's row number, and whether it is over. Throws run_not_found, variation_not_found. */
  streamSource(runId: string, variation?: number): Promise<{ run: number; isOver: () => boolean }>;
}
