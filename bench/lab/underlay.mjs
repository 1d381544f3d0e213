// The underlay: hosts on one Ethernet switch, which is a bridge in a namespace of its own.
import { ip, namespaces, sysctls } from './run.mjs';

const SWITCH = 'switch';
const PREFIX = '192.168.187';

/** Rules of the IP layer must not see frames that a bridge forwards: a real switch has none. */
export const BRIDGE_ONLY = {
  'net/bridge/bridge-nf-call-iptables': 0,
  'net/bridge/bridge-nf-call-ip6tables': 0,
  'net/bridge/bridge-nf-call-arptables': 0,
};

export function plugSwitch() {
  namespaces(SWITCH);
  sysctls(SWITCH, BRIDGE_ONLY, { optional: true });
  ip(SWITCH, 'link add name sw0 type bridge mcast_snooping 0', 'link set sw0 up');
}

/**
 * A host with `eth0` on the switch.
 * @param {string} name of its namespace @param {number} number last byte of its address @returns {string} the address
 */
export function plugHost(name, number) {
  namespaces(name);
  const address = `${PREFIX}.${number}`;
  ip(
    SWITCH,
    `link add name ${name} type veth peer name eth0 netns ${name}`,
    `link set ${name} master sw0`,
    `link set ${name} up`,
  );
  ip(name, 'link set eth0 up', `addr add ${address}/24 dev eth0`);
  return address;
}
