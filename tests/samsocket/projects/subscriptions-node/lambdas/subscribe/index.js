const { DynamoDBClient, GetItemCommand, PutItemCommand } = require("@aws-sdk/client-dynamodb");

const tables = new DynamoDBClient();
const TableName = process.env.TABLE_NAME;

exports.handler = async ({ body, requestContext: { connectionId } }) => {
  const { entityId } = JSON.parse(body);
  const Key = { pk: { S: connectionId }, sk: { S: "connection#" } };
  const { Item: connection } = await tables.send(new GetItemCommand({ TableName, Key }));
  const Item = { pk: Key.pk, sk: { S: `sub#${entityId}` }, GSI1PK: { S: entityId }, GSI1SK: { S: "subscription#" } };
  await tables.send(new PutItemCommand({ TableName, Item }));
  return { statusCode: 200, body: `${connection.GSI1PK.S} hears of ${entityId}` };
};
