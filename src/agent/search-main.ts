/** The process that searches files for the built-in agent: it can be ended where a pattern takes too long. `node search-main.ts <SearchRequest>` */
import { searchFiles } from './builtin/search-files.ts';
import type { SearchRequest } from './builtin/tools/search.ts';

const request = JSON.parse(process.argv[2] ?? '') as SearchRequest;
const answer = await searchFiles(request).catch((error: unknown) => ({
  failure: error instanceof Error ? error.message : String(error),
}));
process.stdout.write(JSON.stringify(answer));
