"""Calls to Lambda: signed, and kept alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from tests.support.gateways import FakeAws, RunningGateway


async def test_an_invocation_is_signed_for_lambda(gateway: RunningGateway, aws: FakeAws) -> None:
    await gateway.connect()
    _, path, headers, body = next(request for request in aws.requests if "/invocations" in request[1])
    assert path == "/2015-03-31/functions/connect/invocations"
    assert headers["X-Amz-Invocation-Type"] == "RequestResponse"
    assert "/us-east-1/lambda/aws4_request" in headers["Authorization"]
    again = AWSRequest("POST", aws.endpoint_url + path, data=body)
    again.headers["X-Amz-Invocation-Type"] = "RequestResponse"
    again.context["timestamp"] = headers["X-Amz-Date"]
    signer = SigV4Auth(Credentials("test", "test"), "lambda", "us-east-1")
    again.headers["X-Amz-Date"] = headers["X-Amz-Date"]
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    assert headers["Authorization"].endswith(f"Signature={signature}")
