// What is wrong with Markdown files as a whole: links that lead nowhere, and words that only one machine understands.
import fs from 'node:fs';
import path from 'node:path';

const LEFT_OUT = /^(node_modules|dist|build.*|coverage|\.git|\.tap)$/;

/** All Markdown files below a folder, relative to it. @returns {string[]} */
export function markdownFiles(root, folder = '') {
  return fs
    .readdirSync(path.join(root, folder), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) return LEFT_OUT.test(entry.name) ? [] : markdownFiles(root, file);
      return entry.name.endsWith('.md') ? [file] : [];
    });
}

/** Relative links of a file whose file or heading is not there. @returns {string[]} one line each */
export function brokenLinks(root, file) {
  return linksOf(fs.readFileSync(path.join(root, file), 'utf8')).flatMap((link) => {
    if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return [];
    const [to = '', fragment] = link.split('#');
    const target = path.join(root, to === '' ? file : path.join(path.dirname(file), to));
    if (path.relative(root, target).startsWith('..')) return [`${file}: link to ${link} leaves the repository`];
    if (!fs.existsSync(target)) return [`${file}: link to ${link}, which is not there`];
    if (!fragment || !target.endsWith('.md') || anchorsOf(target).has(fragment)) return [];
    return [`${file}: link to ${link}, which has no such heading`];
  });
}

function linksOf(text) {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  const inline = [...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)];
  const references = [...prose.matchAll(/^\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)/gm)];
  return [...inline, ...references].map((match) => match[1]);
}

/** Headings as GitHub names them. */
function anchorsOf(file) {
  const text = fs.readFileSync(file, 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  return new Set([...text.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)].map((match) => slug(match[1])));
}

const slug = (heading) =>
  heading
    .toLowerCase()
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
    .replace(/\s/g, '-');

/** First parts of absolute paths that mean the same on every machine (hier(7)), and those of the socket API. */
const EVERYWHERE = new Set(['bin', 'dev', 'etc', 'lib', 'opt', 'proc', 'run', 'sbin', 'sys', 'usr', 'var']);
const API = new Set(['v1', 'metrics']);

/** Sites that everybody can read. */
const PUBLIC = new Set([
  'docs.kernel.org',
  'github.com',
  'keepachangelog.com',
  'man7.org',
  'semver.org',
  'www.apache.org',
  'www.rfc-editor.org',
]);

/** Paths and hosts that mean nothing elsewhere than on the machine of who wrote them. @returns {string[]} */
export function localWords(root, file) {
  const text = fs.readFileSync(path.join(root, file), 'utf8');
  const urls = [...text.matchAll(/\bhttps?:\/\/([^\s/)>\]`"'|:]+)/g)];
  // An address or a bare name is an example's, not a machine's.
  const hosts = urls.map((match) => match[1]).filter((host) => /[a-z]\./i.test(host) && !PUBLIC.has(host));
  const paths = [...text.matchAll(/(?<![\w.$}~:/<>*…-])\/([\w.-]+)/g)]
    .map((match) => match[1])
    .filter((first) => !/^\d+$/.test(first) && !EVERYWHERE.has(first) && !API.has(first));
  return [
    ...hosts.map((host) => `${file}: names the host ${host}; public ones are listed in scripts/docs/prose.mjs`),
    ...paths.map((first) => `${file}: names the path /${first}…, which is not on every machine`),
  ];
}
