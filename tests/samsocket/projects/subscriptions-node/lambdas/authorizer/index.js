const { userOf } = require("tokens");

exports.handler = async (event, context) => {
  try {
    const name = Object.keys(event.headers).find((each) => each.toLowerCase() === "sec-websocket-protocol");
    const [protocol, token] = event.headers[name].split(",").map((part) => part.trim());
    if (protocol.toLowerCase() !== "websocket") throw new Error("the subprotocol must be websocket");
    const userId = userOf(token, process.env.JWT_SECRET);
    const Statement = [{ Action: "execute-api:Invoke", Effect: "Allow", Resource: event.methodArn }];
    return { principalId: userId, policyDocument: { Version: "2012-10-17", Statement }, context: { userId } };
  } catch (error) {
    console.error(error.message);
    context.fail("Unauthorized");
    return null;
  }
};
