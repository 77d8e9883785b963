def lambda_handler(event, context):
    token = (event.get("queryStringParameters") or {}).get("token")
    user = {"jane": "Jane", "joe": "Joe"}.get(token)
    api, stage = event["methodArn"].split(":")[5].split("/")[:2]
    resource = ":".join([*event["methodArn"].split(":")[:5], f"{api}/{stage}/*"])
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow" if user else "Deny", "Resource": resource}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": user or "unauthorized", "policyDocument": policy, "context": {"userId": user or ""}}
