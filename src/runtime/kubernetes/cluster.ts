import type { Job, KubernetesEvent, NewObject, Pod } from './client/objects.ts';

/** What the runtime needs of a cluster: one namespace of it, and in that one database's Jobs. */
export interface Cluster {
  readonly namespace: string;
  /** Whether Jobs and pods were listed: before that, what is not known may still be there. */
  readonly synced: boolean;
  /** Resolves when {@link synced}, or after so long (ms): whichever is first. */
  sync(withinMs: number): Promise<boolean>;
  job(name: string): Job | undefined;
  jobs(): Job[];
  /** Of one attempt; more than one only where Kubernetes started it twice. */
  podsOf(attemptId: string): Pod[];
  /** Told the attempt of every Job or pod that changed, came or went. */
  onChange(listener: (attemptId: string) => void): void;
  /** Errors: ApiError (409 AlreadyExists, 403, 422 …), cluster_unreachable. */
  createJob(job: NewObject): Promise<Job>;
  createSecret(secret: NewObject): Promise<void>;
  /** As the API has it now; undefined where there is none. */
  getJob(name: string): Promise<Job | undefined>;
  patchJob(name: string, patch: object): Promise<void>;
  /** In the foreground: pods first, with their grace. One that is gone is no error. */
  deleteJob(name: string, uid: string | undefined): Promise<void>;
  eventsOf(uid: string): Promise<KubernetesEvent[]>;
  followLog(pod: string, options: FollowOptions): LogFollow;
  close(): Promise<void>;
}

export interface FollowOptions {
  /** One line without its end, lent: what is kept of it is copied. Called synchronously; must be quick. */
  onLine(line: Buffer): void;
  /** Something that is no line of the container's. */
  onProblem(message: string): void;
  /** Whether the container has ended: the log is then read to its end once more, and that is all. */
  isOver(): boolean;
}

export interface LogFollow {
  /** Resolves when all that can be read was read. Never rejects. */
  readonly done: Promise<void>;
  /** The pod changed: worth a look now instead of after a wait. */
  poke(): void;
  stop(): void;
}
