import { meshCases } from '../support/mesh-cases.js';

meshCases('nft', [], [6]);
