import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, ScanCommand } from "@aws-sdk/lib-dynamodb";

const table = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export const handler = async (event) => {
  const { apiId, stage } = event.requestContext;
  const endpoint = `https://${apiId}.execute-api.${process.env.AWS_REGION}.amazonaws.com/${stage}`;
  const api = new ApiGatewayManagementApiClient({ endpoint });
  const { Items } = await table.send(new ScanCommand({ TableName: process.env.TABLE_NAME }));
  const Data = JSON.parse(event.body).data;
  await Promise.all(
    Items.map(({ connectionId }) => api.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data }))),
  );
  return { statusCode: 200, body: "Data sent." };
};
