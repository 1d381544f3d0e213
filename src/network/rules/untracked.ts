import { family } from '../../base/ip.js';
import { carriesOverlay } from '../guard.js';
import type { Feature } from './node.js';

/** Where nf_tables of the IP layer is missing, which says so otherwise (../guard.ts): tunnel packets are not tracked. */
export const untrackedRules: Feature = (world, of, book) => {
  const { vtep, dataPathPort } = world.self;
  if (world.nftInet || of !== family(vtep) || !carriesOverlay(world)) return;
  const length = of === 4 ? 32 : 128;
  const rule = (match: string) => [`${match} ${vtep}/${length} -p udp -m udp --dport ${dataPathPort} -j CT --notrack`];
  book.add(of, 'raw', 'WEFT-RAW-IN', rule('-d'));
  book.add(of, 'raw', 'WEFT-RAW-OUT', rule('-s'));
  book.jump(of, 'raw', 'PREROUTING', '-j WEFT-RAW-IN');
  book.jump(of, 'raw', 'OUTPUT', '-j WEFT-RAW-OUT');
};
