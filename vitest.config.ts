import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // On a real cluster: `npm run test:kubernetes`.
    exclude: ['test/kubernetes/**', '**/node_modules/**'],
    // Processes, not threads: tests start servers and children, send signals and change the working directory.
    pool: 'forks',
    maxWorkers: 2,
    // What a busy machine made late is tried once more before it holds up everything else; the report says which it was.
    retry: process.env['CI'] === undefined ? 0 : 1,
    testTimeout: 60_000,
    hookTimeout: 30_000,
    restoreMocks: true,
    unstubEnvs: true,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: ['src/**/*.test.ts'],
      reporter: ['text', 'json-summary'],
      reportsDirectory: 'coverage',
      thresholds: { lines: 90 },
    },
  },
});
