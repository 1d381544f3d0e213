import { meshCases } from '../support/mesh-cases.js';

meshCases('nft', [], [4, 6]);
