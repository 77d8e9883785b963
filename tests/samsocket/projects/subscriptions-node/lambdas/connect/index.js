const { DynamoDBClient, PutItemCommand } = require("@aws-sdk/client-dynamodb");

const tables = new DynamoDBClient();

exports.handler = async ({ requestContext: { authorizer, connectedAt, connectionId, identity } }) => {
  const ttl = Math.round(Date.now() / 1000) + Number(process.env.TTL_HOURS) * 3600;
  const Item = {
    pk: { S: connectionId },
    sk: { S: "connection#" },
    ipAddress: { S: identity.sourceIp },
    connectedAt: { N: String(connectedAt) },
    ttl: { N: String(ttl) },
    GSI1PK: { S: authorizer.userId },
    GSI1SK: { S: "user#" },
  };
  await tables.send(new PutItemCommand({ TableName: process.env.TABLE_NAME, Item }));
  return { statusCode: 200, headers: { "Sec-WebSocket-Protocol": "websocket" } };
};
