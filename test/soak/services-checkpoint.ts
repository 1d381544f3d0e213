import { type LabNode, until } from '../support/lab.js';
import { factsOf, SHOW_STATE, SHOW_STATE6 } from '../support/node-facts.js';
import { missingLines } from '../support/overlay.js';
import { resurrect } from './services-death.js';
import { type Services, tellAll, WAIT } from './services-world.js';

/** The kernels are as wished, in the agents' own eyes. What tells nobody of its changes is looked at every 30 s. */
export async function settled(soak: Services): Promise<void> {
  await resurrect(soak);
  await tellAll(soak);
  for (const node of soak.lab.nodes) {
    let left: unknown[] = [];
    const isSettled = async () => {
      ({ operations: left } = await node.api.get<{ operations: unknown[] }>('/v1/plan'));
      return left.length === 0;
    };
    await until(`nothing is left to do on ${node.name}`, isSettled, 60_000).catch((error) => {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(left.slice(0, 5))}`);
    });
  }
}

/**
 * What a node's kernel has become by all that happened is what it is when the same wish is stated at once on an empty node.
 * @returns each fact by which they differ
 */
export async function differsFromScratch(soak: Services, node: LabNode): Promise<string[]> {
  const wish = await node.api.get<{ sandboxes: Record<string, object> }>('/v1/export');
  const spaces = ['', 'net-app', 'net-ingress', 'net-side', ...Object.keys(wish.sandboxes)];
  const grown = await state(node, spaces);
  await node.api.post('/v1/down');
  await node.api.put(`/v1/wish?${WAIT}`, wish);
  await settled(soak);
  const fresh = await state(node, spaces);
  return [
    ...missingLines(grown, fresh).map((line) => `only after all that happened: ${line}`),
    ...missingLines(fresh, grown).map((line) => `only from scratch: ${line}`),
  ];
}

/** Numbers in the order of asking: marks of services, addresses on the gateway bridge; and drawn: ports of the resolver. */
const ASKED = new RegExp(
  [
    /(?<=-f )\d+/,
    /(?<=: )0x[0-9a-f]{8}(?= \})/,
    /(?<=[tp] (set )?)\d{5}(?= )/,
    /(?<=@th,240,16 )0x[0-9a-f]{4}/,
    /\b172\.31\.0\.\d+(?=\/16 on gw0|:)/,
    /\bfd87:7765:6674:\d::[0-9a-f]+(?=\/64 on gw0|\]:)/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
);

async function state(node: LabNode, spaces: readonly string[]): Promise<string> {
  const script = `${SHOW_STATE}\n${SHOW_STATE6}`;
  const parts = spaces.map(async (ns) => {
    const { stdout } = ns === '' ? await node.exec('sh', '-c', script) : await node.execIn(ns, 'sh', '-c', script);
    // The iptables program leaves a table of nf_tables behind with nothing in it; it told of its rules itself.
    const facts = factsOf(stdout).filter((fact) => !/^nft ip6? /.test(fact));
    return facts.map((fact) => `${ns || node.name}: ${fact.replace(ASKED, 'N')}`);
  });
  return (await Promise.all(parts)).flat().join('\n');
}
