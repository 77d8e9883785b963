const { DynamoDBClient, QueryCommand } = require("@aws-sdk/client-dynamodb");
const { ApiGatewayManagementApiClient, PostToConnectionCommand } = require("@aws-sdk/client-apigatewaymanagementapi");

const tables = new DynamoDBClient();
const api = new ApiGatewayManagementApiClient({ endpoint: process.env.ENDPOINT });

exports.handler = async ({ Records }) => {
  for (const { detail } of Records.map((record) => JSON.parse(record.body))) {
    const { Items } = await tables.send(
      new QueryCommand({
        TableName: process.env.TABLE_NAME,
        IndexName: process.env.INDEX_NAME,
        KeyConditionExpression: "#pk = :pk and #sk = :sk",
        ExpressionAttributeNames: { "#pk": "GSI1PK", "#sk": "GSI1SK" },
        ExpressionAttributeValues: { ":pk": { S: detail.entityId }, ":sk": { S: "subscription#" } },
      }),
    );
    const Data = JSON.stringify({ type: "Entity Updated", ...detail });
    await Promise.all(Items.map(({ pk }) => api.send(new PostToConnectionCommand({ ConnectionId: pk.S, Data }))));
  }
};
