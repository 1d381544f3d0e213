import { meshCases } from '../support/mesh-cases.js';

meshCases('ipvs', ['ip_vs', 'ipvsadm'], [6]);
