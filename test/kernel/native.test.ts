import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { thrownBy, until, World } from '../support/native-world.js';
import { needs } from '../support/needs.js';

const loader = fileURLToPath(new URL('../../src/kernel/real/native.js', import.meta.url));

/** A program around `native` in a mount namespace as `ip netns exec` makes it: a private copy, slave of ours. */
function inSlaveMounts(body: string): string[] {
  const script = `import { loadNative } from ${JSON.stringify(loader)}; const native = loadNative(); ${body}`;
  return ['--mount', '--propagation', 'slave', process.execPath, '--input-type=module', '-e', script];
}

if (needs(t, ['root', 'veth', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());

  /** A veth between `witness` and the namespace of `fd`: its near end goes when the kernel has freed the other namespace. */
  async function tie(witness: number, fd: number, name: string): Promise<() => Promise<boolean>> {
    await world.must(witness, `ip link add ${name} type veth peer name eth0 netns /proc/${process.pid}/fd/${fd}`);
    return async () => (await world.run(witness, `ip link show ${name}`)).code !== 0;
  }

  t.test('an addon that is not built, or does not load, is an error with the remedy', async (t) => {
    const at = (path: string) => join(world.dir, 'package', path);
    for (const path of ['base/errors.js', 'kernel/real/native.js']) {
      cpSync(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)), at(`dist/${path}`));
    }
    writeFileSync(at('package.json'), '{"type":"module"}');
    const { loadNative: load } = await import(at('dist/kernel/real/native.js'));
    const addon = at('native/build/weft.node');
    const missing = { code: 'WEFT_KERNEL_MISSING', message: `the addon ${addon} is not built`, hint: /npm run build/ };
    t.match(thrownBy(load), missing);
    mkdirSync(at('native/build'), { recursive: true });
    writeFileSync(addon, 'no shared object');
    t.match(thrownBy(load), { code: 'WEFT_KERNEL_MISSING', message: /does not load: .*weft\.node/ });
  });

  t.test('a namespace is created, pinned, opened, identified and deleted', async (t) => {
    const path = world.path('life');
    native.netnsCreate(path);
    t.equal(statSync(path).mode & 0o777, 0o444);
    t.match(
      thrownBy(() => native.netnsCreate(path)),
      { code: 'EEXIST', errno: 17, message: `netnsCreate ${path}: File exists` },
    );
    const fd = world.open(path);
    t.not(native.netnsIdentity(fd).ino, native.netnsIdentity(-1).ino);
    t.equal(native.netnsIdentity(-1).ino, BigInt(statSync('/proc/self/ns/net').ino));
    t.match(await world.must(fd, 'ip -br link'), /^lo +DOWN/);
    world.close(fd);
    native.netnsDelete(path);
    t.notOk(existsSync(path));
    t.doesNotThrow(() => native.netnsDelete(path), 'absent is success');
  });

  t.test('a namespace on tmpfs; a left-over empty file is reused; a failed create leaves no file', (t) => {
    const dir = mkdtempSync('/dev/shm/weft-native-');
    const pin = join(dir, 'x');
    writeFileSync(pin, '');
    native.netnsCreate(pin);
    t.ok(native.netnsOpen(pin) > 2);
    native.netnsDelete(pin);
    rmSync(dir, { recursive: true });
    t.match(
      thrownBy(() => native.netnsCreate(pin)),
      { code: 'ENOENT' },
    );
    const proc = '/proc/self/weft';
    t.match(
      thrownBy(() => native.netnsCreate(proc)),
      { code: 'ENOENT' },
    );
    t.end();
  });

  t.test('what is no pin is left alone', (t) => {
    const file = join(world.dir, 'precious');
    writeFileSync(file, 'text');
    t.match(
      thrownBy(() => native.netnsCreate(file)),
      { code: 'EEXIST' },
    );
    t.match(
      thrownBy(() => native.netnsDelete(file)),
      { code: 'EINVAL' },
    );
    t.match(
      thrownBy(() => native.netnsDelete(world.dir)),
      { code: 'EINVAL' },
    );
    t.equal(readFileSync(file, 'utf8'), 'text');
    t.match(
      thrownBy(() => native.netnsOpen(file)),
      { code: 'EINVAL', message: `netnsOpen ${file}: Invalid argument` },
    );
    t.match(
      thrownBy(() => native.netnsOpen('/proc/self/ns/mnt')),
      { code: 'EINVAL' },
    );
    t.match(
      thrownBy(() => native.netnsOpen(`${file}-not`)),
      { code: 'ENOENT' },
    );
    t.match(
      thrownBy(() => native.netnsOpen(`${world.dir}\0x`)),
      { code: 'EINVAL' },
    );
    t.end();
  });

  t.test('the namespace of a process', async (t) => {
    const fd = world.netns('of-pid');
    const child = spawn('nsenter', [`--net=${join(world.dir, 'of-pid')}`, 'sleep', '60']);
    const own = native.netnsIdentity(-1).ino;
    const seen = await until(() => {
      const theirs = native.netnsOpenPid(child.pid ?? 0);
      const { ino } = native.netnsIdentity(theirs);
      native.closeFd(theirs);
      return ino !== own && ino === native.netnsIdentity(fd).ino;
    });
    t.ok(seen);
    child.kill('SIGKILL');
    await once(child, 'exit');
    t.match(
      thrownBy(() => native.netnsOpenPid(child.pid ?? 0)),
      { code: 'ENOENT' },
    );
    t.match(
      thrownBy(() => native.netnsOpenPid(-1)),
      { code: 'EINVAL' },
    );
  });

  t.test('deleting frees the namespace though another mount namespace has a copy of the pin', async (t) => {
    const witness = world.netns('witness');
    const copied = world.netns('copied');
    const freed = await tie(witness, copied, 'v0');
    const holder = spawn('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', 'echo in; read x'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    world.close(copied);
    t.notOk(await freed());
    native.netnsDelete(join(world.dir, 'copied'));
    t.ok(await until(freed));
    holder.stdin.end('x\n');
    await once(holder, 'exit');
  });

  t.test('in a shared directory pins appear in, and go from, mount namespaces made before them', async (t) => {
    const dir = join(world.dir, 'shared');
    mkdirSync(dir);
    native.mountShared(dir);
    native.mountShared(dir);
    t.match(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(`${dir} [^-]*shared:`), 'shared');
    const holder = spawn('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', 'echo in; read x'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const pin = join(dir, 'x');
    native.netnsCreate(pin);
    const theirs = native.netnsOpen(`/proc/${holder.pid}/root${pin}`);
    const ours = native.netnsOpen(pin);
    t.equal(native.netnsIdentity(theirs).ino, native.netnsIdentity(ours).ino);
    native.closeFd(theirs);
    native.closeFd(ours);
    native.netnsDelete(pin);
    t.notOk(readFileSync(`/proc/${holder.pid}/mountinfo`, 'utf8').includes(pin));
    holder.stdin.end('x\n');
    await once(holder, 'exit');
    native.unmount(dir);
    native.unmount(dir);
    t.notOk(readFileSync('/proc/self/mountinfo', 'utf8').includes(dir));
  });

  t.test('an agent in a private mount namespace frees a namespace, and pins one that outlives it', async (t) => {
    const witness = world.netns('witness2');
    const doomed = world.netns('doomed');
    const freed = await tie(witness, doomed, 'v1');
    world.close(doomed);
    const doomedPath = join(world.dir, 'doomed');
    const deleted = spawnSync('unshare', inSlaveMounts(`native.netnsDelete(${JSON.stringify(doomedPath)})`));
    t.equal(String(deleted.stderr), '');
    t.notOk(existsSync(doomedPath));
    t.ok(await until(freed));

    const pin = world.path('outlives');
    const create = (mntns: string) => `native.netnsCreate(${JSON.stringify(pin)}, ${mntns})`;
    const open = "import { openSync } from 'node:fs';";
    spawnSync('unshare', inSlaveMounts(create('-1')));
    t.match(
      thrownBy(() => native.netnsOpen(pin)),
      { code: 'EINVAL' },
      'without mntnsFd it dies with the agent',
    );
    const kept = spawnSync('unshare', inSlaveMounts(open + create(`openSync('/proc/${process.pid}/ns/mnt', 'r')`)));
    t.equal(String(kept.stderr), '');
    t.ok(world.open(pin) > 2);
  });

  t.test('mount work in another mount namespace', async (t) => {
    const holder = spawn('unshare', ['--mount', 'sh', '-c', 'echo in; read x'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    const mntns = openSync(`/proc/${holder.pid}/ns/mnt`, 'r');
    const pin = world.path('elsewhere');
    native.netnsCreate(pin, mntns);
    t.match(
      thrownBy(() => native.netnsOpen(pin)),
      { code: 'EINVAL' },
      'an empty file here',
    );
    const fd = native.netnsOpen(pin, mntns);
    t.not(native.netnsIdentity(fd).ino, native.netnsIdentity(-1).ino);
    native.closeFd(fd);
    t.match(
      thrownBy(() => native.netnsOpen(pin, fd)),
      { code: 'EBADF' },
    );
    native.netnsDelete(pin, mntns);
    t.notOk(existsSync(pin));
    holder.stdin.end('x\n');
    native.closeFd(mntns);
    await once(holder, 'exit');
  });

  t.test('programs', async (t) => {
    const fd = world.netns('exec');
    await world.must(fd, 'ip link set lo up');
    t.match(await world.must(fd, 'ip -br link'), /^lo +UNKNOWN .*LOWER_UP/);
    const big = Buffer.alloc(3_000_000, 'weft');
    const piped = await native.exec(fd, ['cat'], big, undefined, 10_000);
    t.ok(piped.stdout.equals(big), '3 MB through both pipes');
    const script = 'echo $A$PATH; echo err >&2; exit 3';
    t.match(await native.exec(-1, ['/bin/sh', '-c', script], null, { A: 'a', PATH: 'p' }, 5000), {
      code: 3,
      signal: null,
      stdout: Buffer.from('ap\n'),
      stderr: Buffer.from('err\n'),
    });
    t.match(await native.exec(fd, ['sh', '-c', 'kill -TERM $$'], null, undefined, 5000), { code: null, signal: 15 });
    t.equal((await native.exec(fd, ['true'], big, undefined, 5000)).code, 0, 'a program that reads nothing');
    await t.rejects(native.exec(fd, ['weft-no-such'], null, undefined, 5000), {
      code: 'ENOENT',
      message: /^exec weft-no-such: /,
    });
    await t.rejects(native.exec(fd, ['/etc/passwd'], null, undefined, 5000), { code: 'EACCES' });
    for (const wrong of [
      () => native.exec(fd, [], null, undefined, 5000),
      () => native.exec(fd, ['a'], null, { 'A=B': '' }, 9),
    ]) {
      t.match(thrownBy(wrong), { code: 'EINVAL' });
    }
  });

  t.test('a program starts clean and alone, and the descriptor may be closed at once', async (t) => {
    const fd = native.netnsOpen(join(world.dir, 'exec'));
    const running = native.exec(fd, ['cat', '/proc/self/status'], null, undefined, 5000);
    native.closeFd(fd);
    const status = String((await running).stdout);
    t.match(status, /SigBlk:\s0+\n/);
    t.match(
      status,
      /SigIgn:\s0{7}[01]80000000\n|SigIgn:\s0+\n/,
      'node ignores SIGPIPE; glibc leaves its own 32 and 33',
    );
    const own = world.open(join(world.dir, 'exec'));
    const list = `native.exec(-1, ['ls', '/proc/self/fd'], null, undefined, 5000).then((ls) => console.log(String(ls.stdout)));`;
    const script = `import { loadNative } from ${JSON.stringify(loader)}; const native = loadNative(); ${list}`;
    const inheriting = [
      '-c',
      'exec 30</dev/null; exec "$@"',
      'bash',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ];
    t.equal(spawnSync('bash', inheriting, { encoding: 'utf8' }).stdout.trim(), '0\n1\n2\n3', 'and 3 is the directory');
    const start = Date.now();
    const left = await native.exec(own, ['sh', '-c', 'sleep 2 & echo first'], null, undefined, 5000);
    t.equal(String(left.stdout), 'first\n');
    t.ok(Date.now() - start < 1500, 'a child that lives on is not waited for');
  });

  t.test('a program that takes too long is killed with its children', async (t) => {
    const pidFile = join(world.dir, 'pid');
    const script = `sleep 600 & echo $! > ${pidFile}; wait`;
    const start = Date.now();
    await t.rejects(native.exec(-1, ['sh', '-c', script], null, undefined, 300), { code: 'ETIMEDOUT' });
    t.ok(Date.now() - start < 2000);
    const pid = readFileSync(pidFile, 'utf8').trim();
    const dead = () => !existsSync(`/proc/${pid}`) || / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    t.ok(await until(dead));
  });

  t.test('sysctls are those of the namespace', (t) => {
    const fd = world.netns('sysctl');
    const path = 'net/ipv4/conf/lo/rp_filter';
    const before = native.sysctlRead(-1, [path, 'net/ipv4/ip_forward']);
    t.strictSame(
      native.sysctlWrite(fd, [
        [path, '2'],
        ['net/weft', '1'],
        ['net/ipv4/ip_forward', 'x'],
      ]),
      [null, 'ENOENT', 'EINVAL'],
    );
    t.strictSame(native.sysctlRead(fd, [path, 'net/weft']), ['2', null]);
    t.strictSame(native.sysctlRead(-1, [path, 'net/ipv4/ip_forward']), before);
    for (const bad of ['../../etc/passwd', 'net/../../x', '/net', 'net//x', '', 'net/.']) {
      t.match(
        thrownBy(() => native.sysctlRead(fd, [bad])),
        { code: 'EINVAL' },
        bad,
      );
      t.match(
        thrownBy(() =>
          native.sysctlWrite(fd, [
            [path, '1'],
            [bad, '1'],
          ]),
        ),
        { code: 'EINVAL' },
      );
    }
    t.strictSame(native.sysctlRead(fd, [path]), ['2'], 'a refused list writes nothing');
    t.match(
      thrownBy(() => native.sysctlRead(9999, [path])),
      { code: 'EBADF' },
    );
    t.end();
  });
}
