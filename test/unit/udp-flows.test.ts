import test from 'ava';
import { produce } from '../../src/network/produce.js';
import { astrayFrom, type UdpFlows } from '../../src/objects/udp-flows.js';
import { wishOf } from '../contract/wish.js';
import { plainWorld } from '../support/world.js';

const WISH = {
  networks: {
    app: { subnets: ['10.20.0.0/24'], vni: 4097 },
    ingress: { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true },
  },
  nodes: { n1: { vtep: '192.168.71.1', addresses: { ingress: ['10.0.0.101'] } } },
  services: {
    web: {
      networks: ['app'],
      vips: { app: ['10.20.0.200'] },
      publish: [
        { published: 8000, publishedEnd: 8009, target: 80, proto: 'udp' },
        { published: 9000, target: 80 },
      ],
    },
  },
  sandboxes: { c1: { ports: [{ published: 53, target: 5353, proto: 'udp', hostIp: '192.168.71.1' }] } },
  endpoints: { 'c1:app': { addresses: ['10.20.0.11'] } },
};

const CALLER = '192.168.70.1';

/** @param local addresses of the producer's namespace */
function astray(wish: object, producer: string, local: readonly string[]) {
  const wanted = produce(plainWorld(wishOf(wish)), producer).find(({ kind }) => kind === 'udp-flows');
  return astrayFrom(wanted?.object as UdpFlows, (ip) => local.includes(ip));
}

test('a flow goes astray where the rules would lead its next packet elsewhere', (t) => {
  const node = '192.168.71.1';
  const isAstray = astray(WISH, 'node', [node, '192.168.99.9']);
  const flow = (dst: string, dstPort: number, by: string, byPort: number) =>
    isAstray({ src: CALLER, dst, dstPort, by, byPort });
  t.false(flow(node, 8003, '10.0.0.101', 8003), 'into the mesh, by its range');
  t.true(flow(node, 8003, node, 8003), 'from before it was published');
  t.true(flow(node, 8003, '10.0.0.102', 8003), 'to an ingress address of before');
  t.false(flow(node, 9000, node, 9000), 'published for TCP only');
  t.true(flow(node, 8010, '10.0.0.101', 8010), 'not published any more');
  t.false(flow(node, 53, '172.31.0.2', 5353), 'to its sandbox');
  t.true(flow(node, 53, '172.31.0.3', 5353), 'to another, which had the port');
  t.true(flow(node, 53, '172.31.0.2', 53), 'to a target of before');
  t.false(flow('192.168.99.9', 53, '192.168.99.9', 53), 'at an address where it is not published');
  t.false(flow(node, 123, node, 123), 'the node itself');
  t.false(flow(node, 5000, '172.17.0.2', 5000), 'what others translate');
  t.false(flow('192.168.72.1', 8003, '192.168.72.1', 8003), 'at another node, which is called from here');
});

test('in a task a flow goes astray where the target of its port is another now', (t) => {
  const [vip, app, ingress, leg, node] = [
    '10.20.0.200',
    '10.20.0.21',
    '10.0.0.21',
    '172.31.0.2',
    '10.0.0.101',
  ] as const;
  const web = { ...WISH.services.web, ports: [{ port: 53, target: 5353, proto: 'udp' }] };
  const task = {
    ...WISH,
    services: { web },
    sandboxes: { b1: {} },
    endpoints: {
      'b1:app': { addresses: [app], service: 'web' },
      'b1:ingress': { addresses: [ingress], service: 'web' },
    },
  };
  const isAstray = astray(task, 'sandbox/b1', [app, ingress, leg]);
  const flow = (dst: string, dstPort: number, by: string, byPort: number, src = CALLER) =>
    isAstray({ src, dst, dstPort, by, byPort });
  t.false(flow(vip, 53, app, 5353), 'a declared port');
  t.true(flow(vip, 53, app, 53), 'from before it was declared');
  t.true(flow(vip, 53, app, 5353 + 1), 'to a target of before');
  t.true(flow(vip, 53, app, 53, app), 'its own, by the VIP');
  t.false(flow(vip, 123, app, 123), 'a port that is not declared');
  t.true(flow(vip, 123, app, 124), 'or is not any more');
  t.false(flow(node, 8003, leg, 83), 'published');
  t.true(flow(node, 8003, leg, 84), 'published with another target');
  t.true(flow(node, 8003, ingress, 83), 'with an address of before');
  t.true(flow(node, 8010, leg, 90), 'not published any more');
  t.false(flow('198.51.100.1', 8003, '198.51.100.1', 8003, leg), 'what the task itself sends to such a port elsewhere');
  t.false(flow(app, 80, app, 80), 'at its own address');
});
