import t from 'tap';
import { dualStack } from '../support/dual-stack.js';
import { patient } from '../support/lab.js';
import { needs } from '../support/needs.js';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat'])) {
  t.setTimeout(patient(110_000));
  await dualStack(t, 4);
}
