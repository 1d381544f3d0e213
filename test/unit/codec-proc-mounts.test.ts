import test from 'ava';
import { parseNetnsMounts } from '../../src/codec/proc-mounts.js';

test('network namespaces among mounts', (t) => {
  const text = `22 27 0:21 / /proc rw,nosuid - proc proc rw
120 26 0:4 net:[4026532245] /run/netns/blue rw shared:62 - nsfs nsfs rw
121 26 0:4 mnt:[4026532250] /run/other rw - nsfs nsfs rw
122 26 0:4 net:[4026532300] /run/a\\040b/netns/net-app rw - nsfs nsfs rw
`;
  t.deepEqual(parseNetnsMounts(text), [
    { inode: 4026532245, path: '/run/netns/blue' },
    { inode: 4026532300, path: '/run/a b/netns/net-app' },
  ]);
  t.deepEqual(parseNetnsMounts(''), []);
});
