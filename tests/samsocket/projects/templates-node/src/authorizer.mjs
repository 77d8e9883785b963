export const handler = (event, context, callback) => {
  if (event.headers.token !== "hello") return callback("Unauthorized");
  const Statement = [{ Action: "execute-api:Invoke", Effect: "Allow", Resource: event.methodArn }];
  callback(null, { principalId: "me", policyDocument: { Version: "2012-10-17", Statement }, context: { plan: "gold" } });
};
