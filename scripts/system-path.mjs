/**
 * npm puts node_modules/.bin before everything else in PATH, and a package there (a dependency of ava) brings a program
 * called `nft` that has nothing to do with nf_tables. Importing this takes such directories out again, for this process
 * and what it starts.
 */
const own = (process.env.PATH ?? '').split(':').filter((directory) => !directory.endsWith('node_modules/.bin'));
process.env.PATH = own.join(':');
