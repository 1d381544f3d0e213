import { meshCases } from '../support/mesh-cases.js';

// Flows are remembered by the bridge's connection tracking where the kernel has it (guests), else in dynamic sets (host).
meshCases('nft', []);
