import { type Kind, STAGE } from './kind.js';

/** A network namespace pinned at RUN_DIR/netns/NAME. It lives in the scope of `@node`. */
export interface Netns {
  name: string;
  /** A second name for this other one: a symbolic link beside it. */
  aliasOf?: string;
}

export const netnsKind: Kind<Netns> = {
  name: 'netns',
  stages: [STAGE.netns],
  stage: () => STAGE.netns,
  rank: (o) => (o.aliasOf === undefined ? 0 : 1),
  key: (o) => o.name,
  same: (want, have) =>
    want.aliasOf === have.aliasOf ? '' : `stands for ${have.aliasOf ?? 'itself'}, wanted ${want.aliasOf ?? 'itself'}`,
  // Only pins below our own run directory are ever observed.
  owns: () => true,
  describe: (o) => `namespace ${o.name}`,
};
