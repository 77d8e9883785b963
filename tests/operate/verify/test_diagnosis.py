"""Errors and logs lead to the right advice."""

from __future__ import annotations

import json

import aiohttp
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from operate.verify.diagnosis import Complaint, advise, complaint, explain, is_denied, missing_right

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/Users"


def logged(level: str, **more: str) -> str:
    return json.dumps({"level": level, "message": "failed", **more})


def test_errors_are_complaints_unless_verify_provokes_them() -> None:
    assert complaint("connect", logged("ERROR", reason="no table")) == Complaint("connect", "no table")
    assert complaint("connect", logged("WARNING", reason="InvalidSignatureError")) is None
    assert complaint("connect", logged("INFO")) is None
    assert complaint("connect", "START RequestId: 1") is None
    assert complaint("connect", "RuntimeError: it broke") == Complaint("connect", "RuntimeError: it broke")


def test_a_right_that_a_function_lacks_is_named_with_its_resource() -> None:
    text = f"User: x is not authorized to perform: dynamodb:UpdateItem on resource: {ARN} because no policy allows it"
    advice = missing_right([Complaint("ingest", "something else"), Complaint("connect", text)])
    assert advice is not None
    assert advice.startswith(f"Give the role of the function connect the right dynamodb:UpdateItem on {ARN}.")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "text",
    [
        "the function's role may not execute-api:ManageConnections, or …: {method} https://a/calls/@connections/*: 403",
        "User is not authorized to perform: execute-api:ManageConnections on resource: arn:aws:x/{method}/y",
    ],
)
def test_the_right_to_post_is_named_with_its_method(method: str, text: str) -> None:
    advice = missing_right([Complaint("broadcast", text.format(method=method))])
    assert advice is not None
    assert f"role of the function broadcast the right execute-api:ManageConnections for {method} on" in advice


def test_a_function_that_takes_too_long_is_named() -> None:
    assert "ingest says: Task timed out after 30.00 seconds" in str(
        advise([Complaint("ingest", "x Task timed out after 30.00 seconds")])
    )


def test_the_last_of_other_complaints_is_quoted() -> None:
    assert "second" in str(advise([Complaint("ingest", "first"), Complaint("ingest", "second")]))
    assert advise([]) is None


def test_a_right_that_the_operator_lacks_is_reported_as_the_operators() -> None:
    message = "User: me is not authorized to perform: events:PutRule on resource: x"
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "PutRule")
    problem = explain(error, "look at the bus")
    assert is_denied(error)
    assert problem.says == "your own credentials may not events:PutRule"
    assert "docs/verify.md" in problem.advice
    assert "look at the bus" not in problem.advice


@pytest.mark.parametrize(
    ("status", "words"), [(403, "mapping"), (429, "quota"), (500, "ConnectPermission"), (502, "logs")]
)
def test_a_refused_handshake_is_explained_by_its_status(status: int, words: str) -> None:
    url = URL("wss://example.com/feed")
    request = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    problem = explain(aiohttp.WSServerHandshakeError(request, (), status=status, message="", headers=None))
    assert str(status) in problem.says
    assert words in problem.advice


def test_other_errors_keep_the_advice_of_their_line() -> None:
    assert explain(TimeoutError(), "look there").advice == "look there"
    assert explain(KeyError("data"), "look there").advice == "look there"
    assert "AWS_PROFILE" in explain(NoCredentialsError()).advice
