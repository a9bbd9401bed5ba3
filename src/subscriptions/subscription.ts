import { createHash } from 'node:crypto';
import { pathSegments, type StreamLineage } from '../log/index.js';
import { compileGlob, type Glob } from './glob.js';

/**
 * What a subscription is, and everything that can happen to it (Durable Streams, sections 6 and 7). State changes only
 * by applying changes that are durable already; reading the same changes again after a restart gives the same state.
 */

export type SubscriptionType = 'webhook' | 'pull-wake';

/** What the client asked for. Paths are relative to the stream root. */
export interface SubscriptionConfig {
  readonly type: SubscriptionType;
  readonly pattern?: string;
  /** Sorted, without duplicates. */
  readonly streams: readonly string[];
  readonly webhookUrl?: string;
  readonly wakeStream?: string;
  readonly leaseTtlMs: number;
  readonly description?: string;
}

/** One stream of a subscription. */
export interface LinkRecord {
  readonly path: string;
  readonly explicit: boolean;
  readonly glob: boolean;
  /** Everything before this offset is done. */
  readonly acked: number;
}

export interface Link extends LinkRecord {
  acked: number;
  explicit: boolean;
  glob: boolean;
  /** As last seen. Not a part of the state: the stream itself says it. */
  tail: number;
  /** Whose tail it is; undefined while there is no such stream, or nobody has looked. Not a part of the state either. */
  lineage: StreamLineage | undefined;
}

/** A wake that is not over. */
export interface Wake {
  readonly id: string;
  readonly generation: number;
  /** The tails of the streams that were pending when it was made. */
  readonly snapshot: Readonly<Record<string, number>>;
  holder: string | undefined;
  /** When the holder must have been heard of again. */
  leaseUntilMs: number | undefined;
}

/** Names a subscription in the whole store: the stream root and the id. */
export interface SubscriptionKey {
  /** The store's path of the stream root, with its slash at the end; empty at the top. */
  readonly root: string;
  readonly id: string;
}

export type Change = SubscriptionKey &
  (
    | {
        readonly kind: 'created';
        readonly config: SubscriptionConfig;
        /** URL of the stream root, for the URLs that the subscription gives out. */
        readonly rootUrl: string;
        readonly createdAtMs: number;
        readonly links: readonly LinkRecord[];
      }
    | { readonly kind: 'moved'; readonly rootUrl: string }
    | { readonly kind: 'deleted' }
    | { readonly kind: 'linked'; readonly links: readonly LinkRecord[] }
    | { readonly kind: 'unlinked'; readonly paths: readonly string[] }
    | {
        readonly kind: 'woken';
        readonly generation: number;
        readonly wakeId: string;
        readonly snapshot: Readonly<Record<string, number>>;
        readonly leaseUntilMs?: number;
      }
    | { readonly kind: 'leased'; readonly holder?: string; readonly leaseUntilMs: number }
    | { readonly kind: 'acked'; readonly acks: Readonly<Record<string, number>> }
    | { readonly kind: 'rested' }
    | { readonly kind: 'failed'; readonly failures: number; readonly nextAttemptAtMs: number }
    | { readonly kind: 'delivered' }
  );

export type ChangeBody = Change extends infer C ? (C extends Change ? Omit<C, keyof SubscriptionKey> : never) : never;

export class Subscription {
  readonly key: SubscriptionKey;
  readonly config: SubscriptionConfig;
  readonly createdAtMs: number;
  readonly links = new Map<string, Link>();
  rootUrl: string;
  generation = 0;
  wake: Wake | undefined;
  /** Deliveries that failed in a row. */
  failures = 0;
  nextAttemptAtMs: number | undefined;
  readonly #glob: Glob | undefined;

  constructor(change: Change & { kind: 'created' }) {
    this.key = { root: change.root, id: change.id };
    this.config = change.config;
    this.createdAtMs = change.createdAtMs;
    this.rootUrl = change.rootUrl;
    this.#glob = change.config.pattern === undefined ? undefined : compileGlob(change.config.pattern);
    for (const link of change.links) this.links.set(link.path, { ...link, tail: link.acked, lineage: undefined });
  }

  get hasPattern(): boolean {
    return this.#glob !== undefined;
  }

  /** Whether the pattern takes in a stream. Its own wake stream it never does, or each wake would cause the next. */
  matches(path: string): boolean {
    return this.#glob !== undefined && path !== this.config.wakeStream && this.#glob(pathSegments(path));
  }

  /** The streams with something to be done, in the order they were linked. */
  pending(): Link[] {
    return [...this.links.values()].filter(isPending);
  }

  apply(change: Change): void {
    switch (change.kind) {
      case 'moved':
        this.rootUrl = change.rootUrl;
        break;
      case 'linked':
        for (const link of change.links) {
          const known = this.links.get(link.path);
          if (known === undefined) this.links.set(link.path, { ...link, tail: link.acked, lineage: undefined });
          else Object.assign(known, link);
        }
        break;
      case 'unlinked':
        for (const path of change.paths) this.links.delete(path);
        break;
      case 'woken':
        this.generation = change.generation;
        this.wake = {
          id: change.wakeId,
          generation: change.generation,
          snapshot: change.snapshot,
          holder: undefined,
          leaseUntilMs: change.leaseUntilMs,
        };
        break;
      case 'leased':
        if (this.wake === undefined) break;
        this.wake.leaseUntilMs = change.leaseUntilMs;
        if (change.holder !== undefined) this.wake.holder = change.holder;
        break;
      case 'acked':
        for (const [path, offset] of Object.entries(change.acks)) {
          const link = this.links.get(path);
          if (link !== undefined) link.acked = Math.max(link.acked, offset);
        }
        break;
      case 'rested':
        this.wake = undefined;
        break;
      case 'failed':
        this.failures = change.failures;
        this.nextAttemptAtMs = change.nextAttemptAtMs;
        // Nobody was reached, so nobody's lease runs.
        if (this.wake !== undefined) this.wake.leaseUntilMs = undefined;
        break;
      case 'delivered':
        this.failures = 0;
        this.nextAttemptAtMs = undefined;
        break;
      default:
        break;
    }
  }

  /** The fewest changes that lead to the present state. */
  snapshot(): Change[] {
    const { key } = this;
    const changes: Change[] = [
      {
        ...key,
        kind: 'created',
        config: this.config,
        rootUrl: this.rootUrl,
        createdAtMs: this.createdAtMs,
        links: [...this.links.values()].map(({ path, explicit, glob, acked }) => ({ path, explicit, glob, acked })),
      },
    ];
    const { wake } = this;
    changes.push({
      ...key,
      kind: 'woken',
      generation: this.generation,
      wakeId: wake?.id ?? '',
      snapshot: wake?.snapshot ?? {},
      ...(wake?.leaseUntilMs === undefined ? {} : { leaseUntilMs: wake.leaseUntilMs }),
    });
    if (wake === undefined) changes.push({ ...key, kind: 'rested' });
    else if (wake.holder !== undefined && wake.leaseUntilMs !== undefined) {
      changes.push({ ...key, kind: 'leased', holder: wake.holder, leaseUntilMs: wake.leaseUntilMs });
    }
    if (this.failures > 0) {
      changes.push({ ...key, kind: 'failed', failures: this.failures, nextAttemptAtMs: this.nextAttemptAtMs ?? 0 });
    }
    return changes;
  }
}

export function isPending(link: Link): boolean {
  return link.tail > link.acked;
}

/** One text for all configurations that mean the same (section 6.2). */
export function configHash(config: SubscriptionConfig): string {
  const { type, pattern, streams, webhookUrl, wakeStream, leaseTtlMs, description } = config;
  const canonical = [
    type,
    pattern ?? null,
    streams,
    webhookUrl ?? null,
    wakeStream ?? null,
    leaseTtlMs,
    description ?? null,
  ];
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex');
}

/** One text for one subscription. An id has no slash in it, so two keys never give the same. */
export function keyOf({ root, id }: SubscriptionKey): string {
  return `${root}${encodeURIComponent(id)}`;
}
