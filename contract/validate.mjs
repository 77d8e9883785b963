// Parses an AsyncAPI document and prints all that AsyncAPI's own parser has to say about it; any word is a failure.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
for (const { code, message, path } of diagnostics) console.log(`${path.join(".")}: ${message} (${code})`);
if (!document || diagnostics.length) process.exit(1);
const count = (all) => all.all().length;
console.log(`${count(document.channels())} channels, ${count(document.operations())} operations, ${count(document.messages())} messages`);
