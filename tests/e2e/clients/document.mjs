// The clients that docs/api.md prints, word for word: only the address is another.
import { readFileSync } from 'node:fs';

const DOCUMENT = new URL('../../../docs/api.md', import.meta.url);
const ADDRESS = 'wss://your-api-domain.com';

/** The one code block in a language, as a client of the service at `address` (such as ws://localhost:8080). */
export function block(language, address) {
  const text = readFileSync(DOCUMENT, 'utf8');
  const blocks = [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter((found) => found[1] === language);
  if (blocks.length !== 1) throw new Error(`docs/api.md has ${blocks.length} blocks of ${language}`);
  const code = blocks[0][2];
  if (!code.includes(ADDRESS)) throw new Error(`the block of ${language} does not connect to ${ADDRESS}`);
  return code.replaceAll(ADDRESS, address);
}
