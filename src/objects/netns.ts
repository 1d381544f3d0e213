import { type Kind, STAGE } from './kind.js';

/** A network namespace pinned at RUN_DIR/netns/NAME. It lives in the scope of `@node`. */
export interface Netns {
  name: string;
}

export const netnsKind: Kind<Netns> = {
  name: 'netns',
  stages: [STAGE.netns],
  stage: () => STAGE.netns,
  rank: () => 0,
  key: (o) => o.name,
  same: () => '',
  // Only pins below our own run directory are ever observed.
  owns: () => true,
  describe: (o) => `namespace ${o.name}`,
};
