exports.handler = async ({ requestContext: { authorizer, stage } }) => ({
  statusCode: 200,
  body: `${process.env.NAME} in ${stage} for ${authorizer.plan}`,
});
