import t from 'tap';
import { Lab } from '../support/lab.js';
const lab = await Lab.up({ nodes: 2 });
const [n1, n2] = [lab.node(1), lab.node(2)];
for (const [i, n] of [n1, n2].entries()) {
  await n.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
  await n.must('network', 'create', 'ingress', '--ingress', '--subnet', '10.0.0.0/24', '--vni', '4096');
  await n.must('node', 'add', n.name, '--vtep', n.vtep, '--address', `ingress=10.0.0.10${i + 1}`);
  await n.must('service', 'create', 'web', '--network', 'app', '--vip', '10.20.0.200', '--publish', '8080:80');
}
await n1.connect('app', { c1: '10.20.0.11' });
for (const [n, b, ip] of [[n1, 'b1', 21], [n2, 'b2', 22]] as const) {
  await n.must('sandbox', 'create', b);
  await n.must('connect', b, 'app', '--ip', `10.20.0.${ip}`, '--service', 'web');
  await n.must('connect', b, 'ingress', '--ip', `10.0.0.${ip}`, '--service', 'web', '--wait');
}
await lab.exchangeGossip();
const { spawn } = await import('node:child_process');
const srv = [[n1,'b1'],[n2,'b2']].map(([n,b]: any) => spawn('nsenter', [`--net=${n.pin(b)}`, process.execPath, '-e', 'require("net").createServer(s=>s.pipe(s)).listen(80)'], {stdio:'inherit'}));
await new Promise(r=>setTimeout(r,700));
const cli = (ns: string, ip: string) => spawn('nsenter', [`--net=${ns}`, process.execPath, '-e', `const s=require("net").connect(${ip.split(':')[1]}, "${ip.split(':')[0]}",()=>s.write("hi"));s.on("data",d=>console.log("got",String(d)));s.on("error",console.error)`], {stdio:'inherit'});
const cs = [cli(n1.pin('c1'), '10.20.0.200:80'), cli(`/run/netns/${n2.ns}`, '192.168.71.1:8080')];
await new Promise(r=>setTimeout(r,700));
for (const c of ['vip','vtep','fdb','neigh','ipvs','conntrack','port']) for (const o of ['table','json','name']) console.log(c, o, '\n'+ JSON.stringify(await n1.weft(c, 'ls', '-o', o)).replaceAll('\\n','\n'));
console.log((await n1.weft('rules','ls','-o','wide')).stdout);
console.log(await n1.weft('verify'));
console.log(await n1.weft('ipvs','ls','--sandbox','nope'));
for (const c of [...srv, ...cs]) c.kill('SIGKILL');
await lab.down();
t.pass();
