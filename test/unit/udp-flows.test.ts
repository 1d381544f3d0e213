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

function astray() {
  const world = plainWorld(wishOf(WISH));
  const wanted = produce(world, 'node').find(({ kind }) => kind === 'udp-flows');
  return astrayFrom(wanted?.object as UdpFlows);
}

test('a flow goes astray where the rules would lead its next packet elsewhere', (t) => {
  const isAstray = astray();
  const flow = (dst: string, dstPort: number, by: string, byPort: number) => isAstray({ dst, dstPort, by, byPort });
  const node = '192.168.71.1';
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
});
