import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, PutCommand, ScanCommand } from "@aws-sdk/lib-dynamodb";

const tables = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const TableName = process.env.CONNECTIONS_TABLE;

export const handler = async (event) => {
  const { routeKey, connectionId, domainName, stage } = event.requestContext;
  switch (routeKey) {
    case "$connect":
      await tables.send(new PutCommand({ TableName, Item: { connectionId } }));
      return { statusCode: 200 };
    case "$disconnect":
      await tables.send(new DeleteCommand({ TableName, Key: { connectionId } }));
      return { statusCode: 200 };
    default: {
      const { Count } = await tables.send(new ScanCommand({ TableName }));
      const api = new ApiGatewayManagementApiClient({ endpoint: `https://${domainName}/${stage}` });
      const words = JSON.parse(event.body || "{}").data.split(" ");
      for (const message of [...words, `end of ${words.length} for ${Count}`]) {
        await api.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data: JSON.stringify({ message }) }));
      }
      return { statusCode: 200 };
    }
  }
};
