import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { HealthMonitor, type MonitorPort } from '../../src/agent/health/monitor.js';
import { WeftError } from '../../src/base/errors.js';
import type { Stored, Wish } from '../../src/model/registry.js';
import { serviceBody } from '../../src/model/service.js';

const HEALTH = { type: 'tcp', port: 80, interval: 0.1, healthy: 2, unhealthy: 3 };

/** A node with some backends of service web, and probes that pass or fail as told. */
class Ward {
  readonly endpoints = new Map<string, Stored<'endpoints'>>();
  readonly services = new Map<string, Stored<'services'>>();
  readonly told: string[] = [];
  passes = true;
  pending = false;
  /** How often it was asked whether an endpoint is pending. */
  looks = 0;
  probes = 0;
  underWay = 0;
  most = 0;
  readonly monitor: HealthMonitor;

  constructor(backends: number, probe: MonitorPort['probe'] = () => this.#probe()) {
    const spec = serviceBody.parse({ networks: ['app'], health: HEALTH });
    this.services.set('web', { table: 'services', id: 'web', origin: 'api', revision: 1, spec });
    for (let i = 0; i < backends; i++) {
      const at = { sandbox: `b${i}`, network: 'app', addresses: [`10.0.0.${i}`], service: 'web', state: 'active' };
      const stored = { table: 'endpoints', id: `b${i}:app`, origin: 'api', revision: 1, spec: at };
      this.endpoints.set(stored.id, stored as unknown as Stored<'endpoints'>);
    }
    this.monitor = new HealthMonitor({
      wish: () => ({ endpoints: this.endpoints, services: this.services }) as unknown as Wish,
      isPending: () => {
        this.looks++;
        return this.pending;
      },
      probe,
      judge: (id, unhealthy) => {
        const { unhealthy: _before, ...rest } = this.endpoints.get(id) as Stored<'endpoints'>;
        this.endpoints.set(id, { ...rest, ...(unhealthy && { unhealthy }) } as Stored<'endpoints'>);
      },
      tell: (id, reason) => this.told.push(`${id} ${reason === undefined ? 'back' : 'out'} after ${this.probes}`),
      trouble: () => {},
    });
  }

  async #probe(): Promise<void> {
    this.probes++;
    this.most = Math.max(this.most, ++this.underWay);
    await sleep(5);
    this.underWay--;
    if (!this.passes) throw new WeftError('WEFT_UNAVAILABLE', 'refused');
  }

  sick(id: string): boolean {
    return this.endpoints.get(id)?.unhealthy === true;
  }

  state(id: string): string | undefined {
    return this.monitor.of(this.endpoints.get(id) as Stored<'endpoints'>)?.state;
  }

  async until(holds: () => boolean): Promise<void> {
    for (let i = 0; !holds() && i < 3000; i++) await sleep(10);
    if (!holds()) throw new Error('waited in vain');
  }
}

test('three failures in a row take it out, two passes let it back', async (t) => {
  const ward = new Ward(1);
  ward.passes = false;
  ward.monitor.start();
  t.is(ward.state('b0:app'), 'unknown');
  await ward.until(() => ward.sick('b0:app'));
  t.deepEqual(ward.told, ['b0:app out after 3']);
  t.is(ward.state('b0:app'), 'unhealthy');
  ward.passes = true;
  const failed = ward.probes;
  await ward.until(() => !ward.sick('b0:app'));
  t.true(ward.probes >= failed + 2);
  ward.monitor.stop();
});

test('what was unhealthy in the last life is, until it passes', async (t) => {
  const ward = new Ward(1);
  ward.endpoints.set('b0:app', { ...(ward.endpoints.get('b0:app') as Stored<'endpoints'>), unhealthy: true });
  ward.monitor.start();
  t.is(ward.state('b0:app'), 'unhealthy');
  await ward.until(() => !ward.sick('b0:app'));
  t.deepEqual(ward.told, ['b0:app back after 2']);
  ward.monitor.stop();
});

test('when the service asks for no probes any more, they end and the verdict goes', async (t) => {
  const ward = new Ward(1);
  ward.passes = false;
  ward.monitor.start();
  await ward.until(() => ward.sick('b0:app'));
  const asked = ward.services.get('web') as Stored<'services'>;
  const { health: _health, ...spec } = asked.spec;
  const stored = { ...asked, spec };
  ward.services.set('web', stored as Stored<'services'>);
  ward.monitor.changed([{ table: 'services', id: 'web', stored }]);
  await ward.until(() => !ward.sick('b0:app'));
  t.is(ward.state('b0:app'), undefined);
  ward.monitor.stop();
});

test('a new backend is not asked before its address is there; one that was asked is, whatever changes', async (t) => {
  const ward = new Ward(1);
  ward.passes = false;
  ward.pending = true;
  ward.monitor.start();
  await ward.until(() => ward.looks >= 3);
  t.is(ward.probes, 0);
  t.is(ward.state('b0:app'), 'unknown');
  ward.passes = true;
  ward.pending = false;
  await ward.until(() => ward.probes > 0 && ward.state('b0:app') === 'healthy');
  ward.pending = true;
  ward.passes = false;
  await ward.until(() => ward.sick('b0:app'));
  t.is(ward.told.length, 1);
  ward.monitor.stop();
});

test('probes under way are bounded', async (t) => {
  const ward = new Ward(100);
  ward.monitor.start();
  await ward.until(() => ward.probes > 400);
  ward.monitor.stop();
  t.true(ward.most <= 32, `${ward.most}`);
});
