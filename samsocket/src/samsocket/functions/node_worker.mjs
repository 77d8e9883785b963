// Runs one Node function, as Lambda's own runtime does: loads the handler, then takes events until it is ended.
// Source of the protocol: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { existsSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

const { env } = process;
const [address, ...below] = env.AWS_LAMBDA_RUNTIME_API.split("/");
const [host, port] = address.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const request = (method, where, body) =>
  new Promise((resolve) => {
    const end = () => process.exit(0); // whoever started this process has ended
    const sent = http.request(
      { host, port, method, agent, path: `/${below.join("/")}/2018-06-01/runtime/${where}` },
      (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("error", end);
        answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }));
      },
    );
    sent.on("error", end);
    sent.end(body);
  });

const fail = async (where, error) => {
  console.error(error);
  const known = error instanceof Error;
  const report = {
    errorType: known ? error.name : typeof error,
    errorMessage: known ? error.message : typeof error === "string" ? error : inspect(error),
    trace: known && error.stack ? error.stack.split("\n") : [],
  };
  await request("POST", where, JSON.stringify(report));
};

const load = async (handler) => {
  const at = handler.lastIndexOf("/") + 1;
  const [file, ...names] = handler.slice(at).split(".");
  const stem = handler.slice(0, at) + file;
  for (const folder of env.SAMSOCKET_PATH.split(path.delimiter)) {
    for (const ending of [".js", ".mjs", ".cjs", ""]) {
      const found = path.resolve(folder, stem + ending);
      if (!existsSync(found) || !path.extname(found)) continue;
      // By import alone, for ES modules and others: a module that is required would not be resolved by node_resolve.mjs.
      const module = await import(pathToFileURL(found).href);
      const within = (from) => names.reduce((value, name) => value?.[name], from);
      const named = within(module) ?? within(module.default);
      if (typeof named !== "function") throw new Error(`${handler} is undefined or not exported`);
      return named;
    }
  }
  throw new Error(`Cannot find module '${stem}' in ${env.SAMSOCKET_PATH}`);
};

const invoke = (handler, event, context) => {
  let nothingMore;
  const answer = new Promise((resolve, reject) => {
    // Without a callback the result is null, once nothing is left to do. An idle connection of ours does not count.
    nothingMore = () => resolve(null);
    process.once("beforeExit", nothingMore);
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    Object.assign(context, { done: callback, succeed: resolve, fail: reject });
    const returned = handler(event, context, callback);
    if (typeof returned?.then === "function") returned.then(resolve, reject);
    else if (returned !== undefined && handler.length < 3) resolve(returned);
    else if (returned === undefined && handler.length < 2) resolve(null);
  });
  return answer.finally(() => process.off("beforeExit", nothingMore));
};

const contextOf = (headers) => {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
};

let handler;
try {
  handler = await load(env._HANDLER);
} catch (error) {
  await fail("init/error", error);
  process.exit(1);
}
for (;;) {
  const { status, headers, body } = await request("GET", "invocation/next");
  if (status !== 200) process.exit(0);
  const context = contextOf(headers);
  env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"] ?? "";
  try {
    const returned = await invoke(handler, JSON.parse(body), context);
    await request("POST", `invocation/${context.awsRequestId}/response`, JSON.stringify(returned ?? null));
  } catch (error) {
    await fail(`invocation/${context.awsRequestId}/error`, error);
  }
}
