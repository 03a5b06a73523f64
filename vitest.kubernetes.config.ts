import { defineConfig } from 'vitest/config';

/** `npm run test:kubernetes`: on a real cluster, one file after the other; see test/kubernetes/README.md. */
export default defineConfig({
  test: {
    include: ['test/kubernetes/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    retry: process.env['CI'] === undefined ? 0 : 1,
    testTimeout: 180_000,
    hookTimeout: 300_000,
  },
});
