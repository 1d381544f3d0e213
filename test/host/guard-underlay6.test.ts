import t from 'tap';
import { guardCases } from '../support/guard-cases.js';

await guardCases(t, 6);
