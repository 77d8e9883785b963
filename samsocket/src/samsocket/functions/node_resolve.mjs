// Resolves what an ES module imports and its folder does not bring: built dependencies, layers, the SDK that Lambda
// ships. For `require`, NODE_PATH does the same.
import { pathToFileURL } from "node:url";

let folders = [];

export const initialize = (data) => {
  folders = data.folders;
};

export const resolve = async (specifier, context, next) => {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND" || /^[./]|^[a-z]+:/.test(specifier)) throw error;
    for (const folder of folders) {
      try {
        return await next(specifier, { ...context, parentURL: pathToFileURL(`${folder}/`).href });
      } catch (again) {
        if (again.code !== "ERR_MODULE_NOT_FOUND") throw again;
      }
    }
    throw error;
  }
};
