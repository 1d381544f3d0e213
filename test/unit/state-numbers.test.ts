import test from 'ava';
import fc from 'fast-check';
import { Numbers } from '../../src/state/numbers.js';

const any = () => true;

test('the lowest free number of a space, whatever was given and forgotten', (t) => {
  const step = fc.record({
    space: fc.constantFrom('mark', 'port'),
    id: fc.constantFrom('a', 'b', 'ab', 'c'),
    more: fc.constantFrom('', '/x', '/y/z'),
    first: fc.constantFrom(1, 3),
    what: fc.constantFrom('choose', 'choose', 'delete', 'forget'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const numbers = new Numbers();
      const model = new Map<string, number>();
      for (const { space, id, more, first, what } of steps) {
        const name = `${space}/${id}${more}`;
        if (what === 'delete') {
          numbers.delete(name);
          model.delete(name);
        } else if (what === 'forget') {
          numbers.forget(space, id);
          const mine = (key: string) => key === `${space}/${id}` || key.startsWith(`${space}/${id}/`);
          for (const key of model.keys()) if (mine(key)) model.delete(key);
        } else if (!model.has(name)) {
          const taken = [...model].filter(([key]) => key.startsWith(`${space}/`)).map(([, n]) => n);
          let expected = first;
          while (taken.includes(expected)) expected++;
          t.is(numbers.free(space, first, any), expected);
          numbers.set(name, expected);
          model.set(name, expected);
        }
        t.deepEqual([...numbers].sort(), [...model].sort());
      }
    }),
  );
});

test('a number that cannot be used now is not passed over for ever', (t) => {
  const numbers = new Numbers();
  t.is(
    numbers.free('port', 10, (n) => n > 12),
    13,
  );
  t.is(numbers.free('port', 10, any), 10);
});
