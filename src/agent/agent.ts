import type { Logger } from 'pino';
import type { AgentPort, Difference, EndpointHealth, Listing, ServiceStats, Status } from '../api/agent.js';
import { MetricsServer } from '../api/metrics-server.js';
import { allRoutes } from '../api/routes.js';
import { ApiServer, refuseLiving } from '../api/server.js';
import { schedulersOf } from '../balance/schedulers.js';
import type { WeftError } from '../base/errors.js';
import { Fingerprints } from '../kernel/real/fingerprints.js';
import { RealKernel } from '../kernel/real/kernel.js';
import { loadNative } from '../kernel/real/native.js';
import { nodeRoutes } from '../kernel/real/node-routes.js';
import { probe } from '../kernel/real/probe.js';
import { Spaces } from '../kernel/real/spaces.js';
import { Watch } from '../kernel/real/watch.js';
import { nameOf, type Stored, type Wish } from '../model/registry.js';
import { PATHS_PRODUCER } from '../network/affected.js';
import { GATEWAY_SUBNETS } from '../network/gateway.js';
import { remoteVteps } from '../network/paths.js';
import type { BalancerChoice, World } from '../network/world.js';
import { type Desired, Dirt } from '../reconcile/desired.js';
import { type Cause, Loop } from '../reconcile/loop.js';
import { everything, type PassResult } from '../reconcile/pass.js';
import type { Backend } from '../state/drain.js';
import { PORT_SPACE } from '../state/numbers.js';
import { Store } from '../state/store.js';
import type { Surroundings } from '../state/surroundings.js';
import { concernsPorts, type Mutation } from '../state/wish.js';
import { Announcer } from './announcer.js';
import { chooseBalancer, chooseGateway, gatewayOf } from './choices.js';
import { connectionsThrough } from './connections.js';
import { Drains } from './drains.js';
import { Events } from './events.js';
import { pruneGate } from './gate.js';
import { HealthMonitor } from './health/monitor.js';
import { probe as probeHealth } from './health/probe.js';
import { HOST_SOCKETS } from './host-sockets.js';
import { kernelReaders } from './inspect/readers.js';
import { inspect, inspectable } from './inspect.js';
import { viewSettings } from './live-view.js';
import { Locations } from './locations.js';
import { Leftovers } from './memory.js';
import { metricsText } from './metrics.js';
import { Names } from './names.js';
import { Notices } from './notices.js';
import type { Options } from './options.js';
import { PoolWatch } from './pool-watch.js';
import { Production } from './production.js';
import { Reservations } from './reservations.js';
import { Stats } from './stats.js';
import { StatusBook } from './status.js';
import { Underlay } from './underlay/underlay.js';
import { Verifier } from './verify.js';

/** The agent: the wish, what it means for the kernel, and the loop that makes it so. */
export class Agent implements AgentPort {
  readonly startedAt = Date.now();
  readonly events = new Events();
  readonly store: Store;
  readonly loop: Loop;
  readonly #production: Production;
  readonly #desired: Desired;
  readonly #verifier: Verifier;
  readonly #locations = new Locations();
  readonly names: Names;
  readonly ports: Reservations;
  readonly #notices: Notices;
  readonly #spaces: Spaces;
  readonly #kernel: RealKernel;
  readonly #watch: Watch;
  readonly #fingerprints: Fingerprints;
  readonly #server: ApiServer;
  readonly #pools: PoolWatch;
  readonly #underlay: Underlay;
  readonly #announcer: Announcer;
  readonly #leftovers = new Leftovers();
  readonly #status: StatusBook;
  readonly #stats: Stats;
  readonly #health: HealthMonitor;
  readonly #metricsServer: MetricsServer | undefined;
  readonly #drains: Drains;
  #balancer: BalancerChoice = { name: 'nft', bridgeConntrack: false, hash: false };
  #nftInet = false;
  #gateway: World['gateway'] = { 4: gatewayOf(GATEWAY_SUBNETS[4][0] as string) };
  /** The wish as of the last change. */
  #before: Wish;

  constructor(
    readonly options: Options,
    readonly log: Logger,
  ) {
    this.#notices = new Notices(log, this.events);
    this.#spaces = new Spaces(loadNative(), options.runDir);
    this.#spaces.locate = (ns) => this.#locations.of(ns);
    this.#kernel = new RealKernel(this.#spaces);
    const failed = (error: unknown) => this.#notices.failed(error);
    this.#announcer = new Announcer(this.#spaces, failed);
    this.#underlay = new Underlay(this.#spaces, options, () => remoteVteps(this.#world()), {
      change: (what) => this.#produceAgain(what === 'all' ? what : [PATHS_PRODUCER]),
      path: (vtep, small, promised) => this.#notices.path(vtep, small?.mtu, promised),
      trouble: failed,
    });
    this.store = new Store(options.stateDir, { name: options.node, vtep: options.advertise }, (at) =>
      this.#spaces.identify(at),
    );
    this.#drains = new Drains(this.store, failed);
    this.#before = this.store.wish;
    this.#production = new Production(this.store, () => this.#world());
    this.#desired = this.#production.desired;
    this.names = new Names({
      runDir: options.runDir,
      logLevel: options.logLevel,
      settings: viewSettings(options),
      spaces: this.#spaces,
      wish: () => this.store.wish,
      location: (ns) => this.#locations.of(ns),
    });
    this.#pools = new PoolWatch(
      () => this.store.wish,
      (network, warning) => this.#notices.pool(`network/${network}`, warning),
    );
    this.ports = new Reservations(HOST_SOCKETS, {
      chosen: (name) => this.store.chosenPort(name),
      choose: (name, first, usable) => this.store.number(PORT_SPACE, name, first, usable),
    });
    const gate = pruneGate({
      confidence: () => this.store.confidence,
      isDismantling: () => this.#dismantling,
      isReleased: (...of) => this.#desired.isReleased(...of),
      holds: (...of) => this.names.holds(...of),
    });
    this.loop = new Loop(this.#kernel, this.#desired, gate, undefined, () => this.#refresh());
    this.#verifier = new Verifier(this.loop);
    this.#watch = new Watch(this.#spaces, (dirt, lost) => void this.#notices.attempt(() => this.#heard(dirt, lost)));
    this.#fingerprints = new Fingerprints(
      this.#spaces,
      this.#kernel,
      this.#desired,
      gate,
      (dirt) => this.loop.wake(dirt, 'kernel'),
      failed,
    );
    this.#status = new StatusBook({
      ...{ options, startedAt: this.startedAt, store: this.store, loop: this.loop, names: this.names },
      ...{ ports: this.ports, spaces: this.#spaces, underlay: this.#underlay, pools: this.#pools },
      chosen: () => ({ balancer: this.#balancer, nftInet: this.#nftInet, gateway: this.#gateway }),
    });
    this.#health = new HealthMonitor({
      wish: () => this.store.wish,
      isPending: ({ revision }) => this.loop.appliedRevision < revision,
      probe: (sandbox, ip, how) => probeHealth(this.#spaces.native, this.locationOf(sandbox).path, ip, how),
      judge: (endpoint, unhealthy) => this.store.judge(endpoint, unhealthy),
      tell: (endpoint, reason) => this.#notices.health(`endpoint/${endpoint}`, reason),
      trouble: failed,
    });
    this.#stats = new Stats(this.#spaces, () => this.#world());
    const defect = (error: WeftError, request: string) => this.log.error({ err: error, request }, 'request failed');
    this.#server = new ApiServer(options.socket, allRoutes(this), defect);
    if (options.metrics) this.#metricsServer = new MetricsServer(options.metrics, () => this.metrics(), defect);
  }

  /** Comes up: state, first pass, socket. Traffic that flows is not touched where nothing changed. */
  async start(): Promise<void> {
    await this.#load();
    // Before the first pass, so that rules to a resolver that runs are found as wished.
    await this.names.start(this.store.confidence.doubt === undefined);
    const named = (sandboxes: Iterable<string>) => [...sandboxes].map((id) => nameOf({ table: 'sandboxes', id }));
    this.#production.due(named(this.store.wish.sandboxes.keys()));
    this.names.resolver.on('listening', (sandboxes) => this.#produceAgain(named(sandboxes)));
    this.#watch.start();
    // Requests are taken once the wish is loaded, and before the first pass has ended: it may wait for the kernel.
    await this.#server.listen();
    await this.#metricsServer?.listen();
    await this.#fingerprints.start();
    await this.loop.start();
    await this.#underlay.start();
    this.#health.start();
  }

  /** Removes everything that weft owns on this node, without coming up first. */
  async cleanup(): Promise<{ removed: number }> {
    await this.#load();
    return this.down();
  }

  async #load(): Promise<void> {
    await refuseLiving(this.options.socket);
    this.store.load();
    if (this.store.fresh && this.#spaces.pins().length > 0) {
      this.store.distrust('the state directory is empty, but namespaces of an earlier life exist');
    }
    this.store.settleVtep();
    this.#drains.start();
    const { doubt } = this.store.confidence;
    if (doubt !== undefined)
      this.log.warn({ doubt }, 'state is in doubt: nothing unknown is removed until the wish is stated anew');
    await this.#underlay.look();
    const can = await probe(this.#spaces);
    this.#balancer = chooseBalancer(this.options.lb, can);
    this.store.balancing = { name: this.#balancer.name, schedulers: schedulersOf(this.#balancer) };
    this.#nftInet = can.nftInet;
    this.#gateway = await chooseGateway(this.#spaces, this.store, ({ code, message, hint }) =>
      this.log.warn({ code, hint }, message),
    );
    this.#before = this.store.wish;
    this.#locations.learn(this.store.wish);
    this.ports.on('trouble', (owner, message) => this.#notices.report('trouble', owner, message));
    this.ports.follow(this.store.wish);
    this.#production.due('all');
    this.#refresh();
    this.#pools.start();
    this.store.on('change', (mutations) => this.#changed(mutations));
    this.store.on('confident', () => void this.#notices.attempt(() => this.#lookAgain()));
    this.names.resolver.on('trouble', (sandbox, message) =>
      this.#notices.report('trouble', sandbox && `sandbox/${sandbox}`, message),
    );
    this.store.on('trouble', (error) => this.#notices.failed(error));
    this.loop.on('pass', (result, causes) => void this.#notices.attempt(() => this.#passed(result, causes)));
    this.loop.on('drift', ({ op }) =>
      this.#notices.report('drift', op.owner, `${op.verb} ${op.kind} ${op.key} in ${op.ns}: ${op.because}`),
    );
    this.loop.on('trouble', ({ owner, error }) => this.#notices.failed(error, owner));
  }

  /** Ends the agent; the data plane stays as it is. */
  async stop(): Promise<void> {
    this.names.resolver.stop();
    this.#health.stop();
    this.ports.stop();
    this.#watch.stop();
    this.#underlay.stop();
    this.#announcer.stop();
    this.#leftovers.stop();
    this.#drains.stop();
    this.#fingerprints.stop();
    await this.#metricsServer?.close();
    await this.#server.close();
    await this.loop.stop();
    this.store.close();
    this.#spaces.closeAll();
    this.#spaces.unmountIfEmpty();
  }

  statusOf(stored: Stored): Status {
    return this.#status.of(stored);
  }

  healthOf(endpoint: Stored<'endpoints'>): EndpointHealth | undefined {
    return this.#health.of(endpoint);
  }

  locationOf(sandbox: string): { path: string; files: string } {
    const { host, share } = this.store.get('sandboxes', sandbox)?.spec ?? {};
    if (share !== undefined) return this.locationOf(share);
    // It has no files: the node's are its own.
    if (host) return { path: `/proc/${process.pid}/ns/net`, files: this.names.filesOf(sandbox) };
    return { path: this.names.netnsPath(sandbox), files: this.names.filesOf(sandbox) };
  }

  summary(): Promise<Record<string, unknown>> {
    return this.#status.summary();
  }

  connections(backends: readonly Backend[], service?: string): Promise<number> {
    return connectionsThrough(this.#world(), this.#spaces, backends, service);
  }

  inspectable(): string[] {
    return inspectable();
  }

  inspect(what: string, query: URLSearchParams): Promise<Listing> {
    const readers = kernelReaders(this.#spaces);
    const { held } = this.loop;
    return inspect({ kernel: this.#kernel, desired: this.#desired, held, world: this.#world(), readers, query }, what);
  }

  stats(): Promise<ServiceStats[]> {
    return this.#stats.services();
  }

  async metrics(): Promise<string> {
    return metricsText(await this.#stats.services(), this.#status);
  }

  verify(): Promise<Difference[]> {
    return this.#verifier.differences();
  }

  async surroundings(): Promise<Surroundings> {
    const gateways = Object.values(this.#gateway).map(({ subnet }) => subnet);
    return { routes: await nodeRoutes(this.#spaces), gateways };
  }

  async down(): Promise<{ removed: number }> {
    const before = this.loop.counters.operations;
    this.#dismantling = true;
    try {
      this.store.clear();
      await this.loop.settle();
      await this.loop.sweep();
      await this.names.down();
      this.#spaces.unmountIfEmpty();
    } finally {
      this.#dismantling = false;
    }
    return { removed: this.loop.counters.operations - before };
  }
  #dismantling = false;

  #world(): World {
    const { node: name, advertise: vtep, dataPathPort } = this.options;
    const { mtu, vrf, addresses } = this.#underlay;
    return {
      wish: this.store.wish,
      self: { name, vtep, dataPathPort, addresses, ...(vrf !== undefined && { vrf }) },
      underlayMtu: mtu,
      smallPaths: this.#dismantling ? new Map() : this.#underlay.smallPaths,
      balancer: this.#balancer,
      nftInet: this.#nftInet,
      gateway: this.#gateway,
      number: (space, key, first) => this.store.number(space, key, first),
      chosenPort: (name) => this.store.chosenPort(name),
      resolverPorts: (sandbox) => this.names.resolver.ports(sandbox),
    };
  }

  /** Kernel objects for what changed since the last time. */
  #refresh(): Dirt {
    const { revision } = this.store;
    const dirt = this.#production.refresh();
    this.loop.wishRevision = revision;
    return dirt;
  }

  /** Facts that are not in the wish have changed. */
  #produceAgain(names: readonly string[] | 'all'): void {
    this.#production.due(names);
    this.loop.wake(new Dirt(), 'wish');
  }

  #changed(mutations: readonly Mutation[]): void {
    // Numbers are chosen before rules are made of them.
    if (mutations.some((m) => concernsPorts(m, this.#before))) this.ports.follow(this.store.wish);
    this.#locations.learn(this.store.wish);
    this.names.changed(mutations, this.#before, this.store.wish);
    this.#underlay.changed(mutations, this.#before, this.store.wish);
    this.#pools.changed(mutations, this.#before);
    this.#health.changed(mutations);
    this.#announcer.changed(mutations, this.#before);
    this.#before = this.store.wish;
    for (const { table, id } of mutations) {
      const stored = this.store.get(table, id);
      this.events.add({ type: 'change', object: nameOf({ table, id }), message: stored ? 'set' : 'removed' });
    }
    this.#production.changed(mutations);
    this.loop.wake(new Dirt(), 'wish');
  }

  async #heard(dirt: Dirt, lost: boolean): Promise<void> {
    if (lost) {
      this.log.warn('kernel notifications were lost: comparing everything');
      this.#underlay.follow();
      this.loop.wake(await everything(this.#kernel, this.#desired), 'kernel');
      return;
    }
    this.#underlay.heard(dirt);
    // These come and go in sandboxes; only where the wish has some does a lost one matter.
    for (const [id, { ns, kind }] of dirt.scopes) {
      if (['neighbour', 'iptables', 'qdisc'].includes(kind) && !this.#desired.has(ns, kind)) dirt.scopes.delete(id);
    }
    if (dirt.scopes.size > 0) this.loop.wake(dirt, 'kernel');
  }

  /** More is known of the wish: what was held back may go now. */
  async #lookAgain(): Promise<void> {
    this.loop.wake(await everything(this.#kernel, this.#desired), 'wish');
  }

  async #passed(result: PassResult, causes: ReadonlySet<Cause>): Promise<void> {
    this.#stats.removed(result.done);
    if (causes.has('start')) {
      this.log.info(
        { adopted: result.kept, changes: result.done.length },
        `adopted ${result.kept} objects, ${result.done.length} changes`,
      );
    }
    this.#spaces.begin();
    try {
      this.#fingerprints.passed(result);
      this.#announcer.passed(this.#world(), result.done);
      for (const { ns, kind } of this.#desired.scopes()) if (kind === 'link') await this.#watch.listenTo(ns);
    } finally {
      this.#spaces.passed();
    }
    this.names.passed(result.done);
    this.#leftovers.passed(result.done.length + (causes.has('start') ? result.kept : 0));
    this.#locations.forget(this.#production.produced, (ns) => this.#desired.hasReleased(ns));
  }
}
