import { DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";

const tables = new DynamoDBClient({ region: process.env.AWS_REGION });

export const handler = async ({ requestContext: { connectionId } }) => {
  const Item = { connectionId: { S: connectionId } };
  await tables.send(new PutItemCommand({ TableName: process.env.TABLE_NAME, Item }));
  return { statusCode: 200, body: "Connected." };
};
