import { defineConfig } from 'vitest/config';

/** Tests that need a real cluster: `npm run test:kubernetes`. Without AIDEATOR_TEST_KUBECONFIG they skip, and say so. */
export default defineConfig({
  test: {
    include: ['test/kubernetes/**/*.test.ts'],
    pool: 'forks',
    // One cluster for all of them.
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    restoreMocks: true,
  },
});
