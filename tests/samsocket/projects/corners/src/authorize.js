exports.handler = (event, context, callback) => {
  const { token } = event.queryStringParameters;
  if (token === "unknown") return callback("Unauthorized");
  const Effect = token === "good" ? "Allow" : "Deny";
  callback(null, {
    principalId: "user",
    policyDocument: {
      Version: "2012-10-17",
      Statement: [{ Action: "execute-api:Invoke", Effect, Resource: event.methodArn }],
    },
    context: { plan: "gold" },
  });
};
