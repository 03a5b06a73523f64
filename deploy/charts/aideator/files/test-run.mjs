// `helm test`: one real run with the scripted model, through the public API. Ends with 1 unless its thoughts arrived and a patch came of it.
const { URL: url, API_KEY: key } = process.env;
const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };

async function call(path, init = {}) {
  const response = await fetch(`${url}/api/v1${path}`, { headers, signal: AbortSignal.timeout(280_000), ...init });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

// A pod this young may not be let through yet: network policies follow it in a moment.
for (let left = 60; ; left--) {
  const answer = await fetch(`${url}/readyz`).catch((error) => error);
  if (answer.ok === true) break;
  if (left === 0) throw new Error(`${url} is not ready`, { cause: answer });
  await new Promise((resolve) => setTimeout(resolve, 1000));
}

const submitted = await (
  await call('/runs', {
    method: 'POST',
    body: JSON.stringify({
      repository: '/data/sample',
      prompt: 'npm test fails: parseDuration("1h30m") returns 3600 instead of 5400. Fix it.',
      variations: [{ model: 'demo/demo', strategy: 'smallest-change' }],
    }),
  })
).json();
console.log(`run ${submitted.run_id} of commit ${submitted.base}`);

const counts = {};
let rest = '';
const stream = await call(`/runs/${submitted.run_id}/stream`);
for await (const text of stream.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    const type = /^event: ?(.*)$/.exec(line)?.[1];
    if (type === undefined) continue;
    counts[type] = (counts[type] ?? 0) + 1;
    if (counts[type] === 1) console.log(`first ${type}`);
  }
}
console.log('events:', JSON.stringify(counts));

const run = await (await call(`/runs/${submitted.run_id}`)).json();
const [variation] = run.variations;
if (run.status !== 'completed')
  throw new Error(`the run is ${run.status}: ${variation.end_reason}, ${variation.message}`);
if (!(counts.agent_output > 0)) throw new Error('no event of the agent arrived');
const patch = await (await call(`/runs/${submitted.run_id}/variations/0/patch`)).text();
if (!patch.includes('src/duration.js')) throw new Error('the patch does not change what was to be mended');
console.log(`ok: ${run.summary}, a patch of ${patch.length} bytes`);
