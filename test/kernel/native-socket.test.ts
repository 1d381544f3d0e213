import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { thrownBy, World } from '../support/native-world.js';
import { needs } from '../support/needs.js';

if (needs(t, ['root', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());

  t.test('UDP sockets born in a namespace', async (t) => {
    const fd = world.netns('udp');
    await world.must(fd, 'ip link set lo up');
    for (const [family, address] of [
      [4, '127.0.0.1'],
      [6, '::1'],
    ] as const) {
      const [server, client] = [0, 0].map((port) => {
        const opened = native.socketOpen(fd, { type: 'udp', family, address, port });
        return { ...opened, socket: dgram.createSocket(`udp${family}`) };
      });
      if (!server || !client) throw new Error('two sockets were asked for');
      server.socket.bind({ fd: server.fd });
      client.socket.bind({ fd: client.fd });
      t.equal(server.socket.address().port, server.port);
      server.socket.on('message', (text, from) => server.socket.send(`${text}!`, from.port, from.address));
      client.socket.send('weft', server.port, address);
      const [reply] = await once(client.socket, 'message');
      t.equal(String(reply), 'weft!');
      t.match(
        thrownBy(() => native.socketOpen(fd, { type: 'udp', family, address, port: server.port })),
        { code: 'EADDRINUSE' },
      );
      native.closeFd(native.socketOpen(-1, { type: 'udp', family, address, port: server.port }).fd);
      server.socket.close();
      client.socket.close();
    }
  });

  t.test('TCP sockets born in a namespace', async (t) => {
    const fd = world.netns('tcp');
    await world.must(fd, 'ip link set lo up');
    const options = { type: 'tcp', family: 6, address: '::', port: 0, reuseAddr: true, v6only: false } as const;
    const opened = native.socketOpen(fd, options);
    const server = net.createServer((socket) => socket.end(`from ${socket.remoteAddress}\n`));
    server.listen({ fd: opened.fd });
    await once(server, 'listening');
    const dial = ['bash', '-c', `cat < /dev/tcp/127.0.0.1/${opened.port}`];
    t.equal(String((await native.exec(fd, dial, null, undefined, 5000)).stdout), 'from ::ffff:127.0.0.1\n');
    t.not((await native.exec(world.netns('tcp2'), dial, null, undefined, 5000)).code, 0, 'not reachable from another');
    server.close();
    const port = opened.port;
    const shared = [1, 2].map(() => native.socketOpen(fd, { ...options, type: 'udp', port, reusePort: true }));
    t.strictSame(
      shared.map((each) => each.port),
      [port, port],
    );
    for (const each of shared) native.closeFd(each.fd);
    for (const wrong of [
      { family: 4, address: '::' },
      { family: 5, address: '::' },
      { type: 'dccp' },
      { port: 65536 },
    ]) {
      t.match(
        thrownBy(() => native.socketOpen(fd, Object.assign({ ...options }, wrong))),
        { code: 'EINVAL' },
      );
    }
    t.match(
      thrownBy(() => native.socketOpen(fd, { ...options, address: '2001:db8::1' })),
      { code: 'EADDRNOTAVAIL' },
    );
  });

  t.test('sockets that hold a port: of an address that is not there yet, and deaf', async (t) => {
    const fd = world.netns('held');
    await world.must(fd, 'ip link set lo up');
    for (const [family, address, absent] of [
      [4, '127.0.0.1', '192.0.2.1'],
      [6, '::1', '2001:db8::1'],
    ] as const) {
      const options = { type: 'udp', family, freeBind: true, deaf: true, v6only: true } as const;
      const early = native.socketOpen(fd, { ...options, address: absent, port: 5000 });
      const deaf = native.socketOpen(fd, { ...options, address, port: 5000 });
      const target = family === 4 ? '127.0.0.1' : '[::1]';
      await world.must(fd, `echo weft | socat -u - UDP${family}-SENDTO:${target}:5000`);
      t.match(await world.must(fd, 'ss -Huan sport = 5000'), /^\S+\s+0\s/, 'nothing waits');
      for (const held of [early, deaf]) native.closeFd(held.fd);
    }
  });

  t.test('whole frames out of an interface; datagrams as large as it takes', async (t) => {
    const fd = world.netns('frames');
    for (const command of [
      'link add dev va type veth peer name vb',
      'link set va up',
      'link set vb up',
      'addr add 192.0.2.1/24 dev va',
      'route add 198.51.100.1 via 192.0.2.9 mtu 600',
    ])
      await world.must(fd, `ip ${command}`);
    const received = async () => JSON.parse(await world.must(fd, 'ip -s -j link show vb'))[0].stats64.rx.packets;
    const before = await received();
    const packets = native.packetOpen(fd);
    t.teardown(() => native.closeFd(packets));
    native.packetSend(packets, 'va', [Buffer.alloc(60, 0xff), Buffer.alloc(1514, 0xff)]);
    t.ok((await received()) >= before + 2);
    for (const [device, frames, code] of [
      ['none', [], 'ENODEV'],
      ['longer-than-a-name', [], 'ENODEV'],
      ['va', [Buffer.alloc(2000)], 'EMSGSIZE'],
      ['va', ['text'], 'EINVAL'],
    ] as const) {
      t.match(
        thrownBy(() => native.packetSend(packets, device, frames as never)),
        { code },
      );
    }
    const opened = native.socketOpen(fd, {
      type: 'udp',
      family: 4,
      address: '192.0.2.1',
      mtuProbe: true,
      device: 'va',
    });
    const socket = dgram.createSocket('udp4').bind({ fd: opened.fd });
    const sent = (bytes: number) =>
      new Promise((resolve) =>
        socket.send(Buffer.alloc(bytes), 9, '198.51.100.1', (error) => resolve(error && 'refused')),
      );
    t.notOk(await sent(1472), 'the route’s MTU does not count');
    t.equal(await sent(1473), 'refused');
    socket.close();
    t.match(
      thrownBy(() => native.socketOpen(fd, { type: 'udp', family: 4, address: '192.0.2.1', device: 'none' })),
      { code: 'ENODEV' },
    );
  });

  t.test('a legacy table is counted and not created', async (t) => {
    const fd = world.netns('xt');
    const version = await world.run(fd, 'iptables-legacy -V').catch(() => undefined);
    if (version?.code !== 0 || !needs(t, ['iptables'])) return;
    t.equal(native.xtGetInfo(fd, 4, 'filter'), null);
    t.equal(await world.must(fd, 'cat /proc/net/ip_tables_names'), '');
    await world.must(fd, 'iptables-legacy -A INPUT -j ACCEPT');
    const one = native.xtGetInfo(fd, 4, 'filter');
    await world.must(fd, 'iptables-legacy -A INPUT -j DROP');
    const two = native.xtGetInfo(fd, 4, 'filter');
    t.equal(two && one && two.entries - one.entries, 1);
    t.ok(two && one && two.size > one.size && two.validHooks === 0b1110);
    t.equal(native.xtGetInfo(fd, 4, 'nat'), null);
    t.equal(native.xtGetInfo(fd, 6, 'filter'), null);
    t.match(
      thrownBy(() => native.xtGetInfo(fd, 4, 'x'.repeat(40))),
      { code: 'EINVAL' },
    );
  });

  t.test('who is at the other end of a unix socket', async (t) => {
    const path = join(world.dir, 'sock');
    const server = net.createServer().listen(path);
    const client = net.connect(path);
    const [accepted] = await once(server, 'connection');
    t.strictSame(native.peerCred(accepted._handle.fd), { pid: process.pid, uid: 0, gid: 0 });
    client.destroy();
    accepted.destroy();
    server.close();
    t.match(
      thrownBy(() => native.peerCred(9999)),
      { code: 'EBADF' },
    );
  });

  t.test('notifications to the service manager', async (t) => {
    t.equal(native.sdNotify('READY=1'), false);
    const listen = 'socket(S,1,2,0); bind(S,pack("Sa*",1,$ARGV[0])) or die; $|=1; print "x"; recv(S,$b,99,0); print $b';
    for (const [where, bound] of [
      [join(world.dir, 'notify'), `${join(world.dir, 'notify')}\0`],
      ['@weft-native-test', ''],
    ] as const) {
      const argument = bound === '' ? `$ARGV[0]="\\0${where.slice(1)}";` : `$ARGV[0].="\\0";`;
      const receiver = spawn('perl', ['-e', argument + listen, where]);
      await once(receiver.stdout, 'data');
      process.env.NOTIFY_SOCKET = where;
      t.equal(native.sdNotify('READY=1\nSTATUS=here'), true);
      const [text] = await once(receiver.stdout, 'data');
      t.equal(String(text), 'READY=1\nSTATUS=here');
      await once(receiver, 'exit');
      t.match(
        thrownBy(() => native.sdNotify('x')),
        { code: 'ECONNREFUSED' },
      );
    }
    process.env.NOTIFY_SOCKET = 'vsock:2:1';
    t.match(
      thrownBy(() => native.sdNotify('x')),
      { code: 'EAFNOSUPPORT' },
    );
    delete process.env.NOTIFY_SOCKET;
  });
}
