import type { Test } from 'tap';
import { type MeshLab, TARGET, VIP } from './mesh-lab.js';

/** How long balancer nft remembers flows without packets: as the kernel's own tools tell (behaviour 27). */
export function memoryScene(t: Test, lab: MeshLab): void {
  t.test('an idle flow is remembered by the bridge: TCP beyond keep-alive, datagrams for five minutes', async (t) => {
    const { flowMemory } = await lab.api(1).get<{ flowMemory: string }>('/v1/status');
    const tracked = flowMemory.startsWith('bridge');
    const from = lab.container(1);
    const netApp = lab.pin(1, 'net-app');
    for (const of of lab.families) {
      for (const proto of ['tcp', 'udp'] as const) {
        const flow = `remembered ${proto} ${of}`;
        await from.open(flow, proto, VIP[of], TARGET);
        for (let i = 0; i < 2; i++) t.match(await from.say(flow), /^b/, flow);
      }
      if (tracked) {
        const listed = (proto: string) =>
          lab.sh(netApp, `conntrack -L -f ipv${of} -p ${proto} -d ${VIP[of]} 2>/dev/null`);
        const seconds = [...listed('tcp').matchAll(/^tcp +6 (\d+) ESTABLISHED /gm)].map(([, left]) => Number(left));
        t.ok(Math.max(...seconds) > 7200, `TCP, IPv${of}: ${seconds} s`);
        // The kernel's own are 30 and 120 seconds.
        const left = [...listed('udp').matchAll(/^udp +17 (\d+) /gm)].map(([, left]) => Number(left));
        t.ok(Math.max(...left) > 120, `UDP, IPv${of}: ${left} s`);
      } else {
        const listed = (map: string) => lab.sh(netApp, `nft list map bridge weft ${map}${of}`);
        const row = (proto: string, left: string) =>
          new RegExp(`\\. ${proto} \\. ${VIP[of]} \\. ${TARGET} timeout \\S+ expires ${left}`);
        t.match(listed('flows'), row('tcp', '2h[0-9]m'));
        t.match(listed('talks'), row('udp', '[2-5]m'));
      }
      for (const proto of ['tcp', 'udp']) await from.close(`remembered ${proto} ${of}`);
    }
  });
}
