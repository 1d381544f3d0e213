// Making containers' networks: a hundred sandboxes with an endpoint each, by weft and by a script.
import { addWeftResolverRules } from '../lab/resolver-rules.mjs';
import { ip, namespaces, run } from '../lab/run.mjs';
import { APPLIED } from '../lab/weft.mjs';
import { agentWith } from './agents.mjs';
import { NETWORK } from './rows.mjs';

const COUNT = 100;
const MTU = 1450;
const numbers = Array.from({ length: COUNT }, (_, i) => i + 1);

/** @returns sides that make them, in milliseconds; what was made is removed outside the measurement */
export async function sandboxSides(setting) {
  const agent = await agentWith('sandboxes', 210, setting);
  byHand();
  return {
    sides: {
      'weft.sandbox': { scale: 'ms', most: 5, measure: () => byWeft(agent) },
      'shell.sandbox': { scale: 'ms', most: 5, measure: async () => byShell() },
    },
    stop: () => agent.stop(),
  };
}

async function byWeft(agent) {
  const { api } = agent;
  const endpoint = (n) => `/v1/endpoints/b${n}:${NETWORK.name}`;
  const began = performance.now();
  for (const n of numbers) {
    await api.put(`/v1/sandboxes/b${n}`, {});
    await api.put(`${endpoint(n)}${n === COUNT ? APPLIED : ''}`, { addresses: [`10.21.1.${n}`] });
  }
  const took = performance.now() - began;
  for (const n of numbers) {
    await api.delete(endpoint(n));
    await api.delete(`/v1/sandboxes/b${n}${n === COUNT ? APPLIED : ''}`);
  }
  return took;
}

/** The node's and the network's bridges, which are there before. */
function byHand() {
  namespaces('hand', 'hand-net');
  ip('hand', 'link add gw type bridge', 'link set gw up', 'addr add 172.30.0.1/16 dev gw');
  ip('hand-net', `link add br0 mtu ${MTU} type bridge`, 'link set br0 up');
}

/** As scripts do it: both pairs are made in the node and their ends moved to where they belong. */
function byShell() {
  const began = performance.now();
  for (const n of numbers) run('hand', ['sh', '-e'], script(n));
  for (const n of numbers) addWeftResolverRules(`box${n}`);
  const took = performance.now() - began;
  run('hand', ['sh', '-e'], numbers.map((n) => `ip netns del box${n}\n`).join(''));
  return took;
}

const script = (n) => `
ip netns add box${n}
ip -n box${n} link set lo up
ip link add v${n} type veth peer name t${n}
ip link set v${n} netns hand-net
ip -n hand-net link set v${n} mtu ${MTU} master br0 up
ip link set t${n} netns box${n}
ip -n box${n} link set t${n} name eth0 mtu ${MTU} up
ip -n box${n} addr add 10.21.1.${n}/24 dev eth0
ip link add g${n} type veth peer name h${n}
ip link set g${n} master gw up
bridge link set dev g${n} isolated on
ip link set h${n} netns box${n}
ip -n box${n} link set h${n} name gw0 up
ip -n box${n} addr add 172.30.1.${n}/16 dev gw0
ip -n box${n} route add default via 172.30.0.1
`;
