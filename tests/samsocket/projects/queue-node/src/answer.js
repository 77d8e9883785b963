const { ApiGatewayManagementApi } = require("@aws-sdk/client-apigatewaymanagementapi");

const api = new ApiGatewayManagementApi({ endpoint: process.env.ApiGatewayEndpoint });

exports.handler = async ({ Records }) => {
  for (const { body, messageAttributes } of Records) {
    const { connectionId, requestId } = messageAttributes;
    const Data = JSON.stringify({ requestId: requestId.stringValue, message: JSON.parse(body) });
    await api.postToConnection({ ConnectionId: connectionId.stringValue, Data });
  }
  return { statusCode: 200 };
};
