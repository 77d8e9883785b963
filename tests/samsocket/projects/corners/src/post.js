const { ApiGatewayManagementApiClient, PostToConnectionCommand } = require("@aws-sdk/client-apigatewaymanagementapi");

const api = new ApiGatewayManagementApiClient({});

exports.handler = async ({ requestContext: { connectionId } }) => {
  await api.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data: "posted" }));
  return { statusCode: 200 };
};
