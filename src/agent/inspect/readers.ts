import { flowsOf } from '../../kernel/real/flows.js';
import { ipvsState } from '../../kernel/real/ipvs-state.js';
import { listeners } from '../../kernel/real/listeners.js';
import type { Spaces } from '../../kernel/real/spaces.js';
import type { Readers } from './look.js';

/** Reads the kernel that the agent runs on. */
export function kernelReaders(spaces: Spaces): Readers {
  return { ipvs: (ns) => ipvsState(spaces, ns), flows: (...of) => flowsOf(spaces, ...of), listeners };
}
