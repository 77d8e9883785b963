import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient, ScanCommand } from "@aws-sdk/client-dynamodb";

const tables = new DynamoDBClient({ region: process.env.AWS_REGION });

export const handler = async (event) => {
  const asked = { TableName: process.env.TABLE_NAME, ProjectionExpression: "connectionId" };
  const { Items } = await tables.send(new ScanCommand(asked));
  const host = process.env.API_ID + ".execute-api." + process.env.AWS_REGION + ".amazonaws.com/";
  const api = new ApiGatewayManagementApiClient({ endpoint: "https://" + host + process.env.STAGE + "/" });
  const { principal, plan, routeKey } = event.requestContext;
  const text = `${principal} with ${plan} by ${routeKey}: ${JSON.parse(event.body).data}`;
  await api.send(new PostToConnectionCommand({ ConnectionId: Items[0].connectionId.S, Data: Buffer.from(text) }));
  return { statusCode: 200, body: "Data sent" };
};
