"""The parts of scenes that do not run on an embedded stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from botocore.exceptions import ClientError

from operate.verify import diagnosis, door, questions, telling
from operate.verify.client import ClosedError
from operate.verify.lines import FailedError, Line, SkippedError, Verdict
from operate.verify.run import VerifyRun
from operate.verify.runner import Notes

API = "wss://a1.execute-api.eu-central-1.amazonaws.com"


def run(**parameters: str) -> VerifyRun:
    """A stack with these parameters."""
    deployment = SimpleNamespace(
        websocket_url="wss://cloudfront.example/ws", clients=SimpleNamespace(region="eu-central-1")
    )
    made = SimpleNamespace(parameters=parameters, deployment=deployment, execute_api_url=lambda: API)
    return cast("VerifyRun", made)


@pytest.mark.parametrize(
    ("key", "parameters", "url"),
    [
        ("door.execute-api", {}, API),
        ("door.domain", {"DomainName": "ws.example.com"}, "wss://ws.example.com"),
        ("door.cloudfront", {"CloudFront": "true"}, "wss://cloudfront.example/ws"),
    ],
)
def test_each_address_that_a_stack_has_is_tried(key: str, parameters: dict[str, str], url: str) -> None:
    assert door.address(run(**parameters), key) == url


@pytest.mark.parametrize(
    ("key", "parameters"),
    [
        ("door.execute-api", {"DisableExecuteApiEndpoint": "true", "DomainName": "ws.example.com"}),
        ("door.domain", {"DomainName": ""}),
        ("door.cloudfront", {"CloudFront": "false"}),
    ],
)
def test_an_address_that_a_stack_does_not_have_is_left_out(key: str, parameters: dict[str, str]) -> None:
    with pytest.raises(SkippedError):
        door.address(run(**parameters), key)


def test_events_are_out_of_order_by_the_time_between_their_ids() -> None:
    ids = [f"{moment:012x}{number:016x}" for number, moment in enumerate([10, 12, 11, 12, 40, 9])]
    assert telling._turned_round(ids) == [1, 31]
    assert telling._turned_round(sorted(ids)) == []


class Bursting:
    """A run whose client hears a burst, but for the connections that are closed after some messages."""

    source, outputs = "verify", {"BusName": "bus"}

    def __init__(self, *closing: tuple[int, int]) -> None:
        """Take, for each connection that is closed, after how many messages and with which code."""
        self._closing = list(closing)
        self.users: list[str] = []

    def new_user(self) -> str:
        self.users.append(f"verify-{len(self.users)}")
        return self.users[-1]

    async def call(self, *_: str, Entries: list[object]) -> dict[str, int]:  # noqa: N803  # botocore's name
        return {"FailedEntryCount": 0}

    @asynccontextmanager
    async def connect(self, *_: str) -> AsyncIterator[Any]:
        most, code = self._closing.pop(0) if self._closing else (telling.BURST, 0)
        numbers = iter(range(most))

        async def hears(kind: str) -> dict[str, str]:
            if (number := next(numbers, None)) is None:
                raise ClosedError(code, kind)
            return {"id": f"{1000 + number:012x}{0:016x}"}

        yield SimpleNamespace(hears=hears)


@pytest.mark.parametrize(
    ("closing", "verdict", "users"),
    [
        ([], Verdict.PASSED, 1),
        ([(5, 1000)], Verdict.PASSED, 2),
        ([(5, 1000), (0, 1000)], Verdict.FAILED, 2),
        ([(5, 1009)], Verdict.FAILED, 1),
    ],
)
async def test_a_burst_whose_client_is_closed_to_resume_is_sent_once_more(
    closing: list[tuple[int, int]], verdict: Verdict, users: int
) -> None:
    run, said = Bursting(*closing), list[Line]()

    async def explain(problem: Exception, advice: str, _blame: object) -> FailedError:
        return diagnosis.explain(problem, advice)

    await telling._order(cast("VerifyRun", run), Notes({"tell.order": "Order"}, said.append, explain))
    assert [line.verdict for line in said] == [verdict]
    assert len(run.users) == users


async def asked(error: Exception | None) -> Line:
    """The line of a question that ends with this error."""
    said: list[Line] = []

    async def explain(problem: Exception, advice: str, _blame: object) -> FailedError:
        return diagnosis.explain(problem, advice)

    notes = Notes({"q": "What?"}, said.append, explain)
    async with questions.asking(notes, "q", within=0.01) as line:
        if error is None:
            await asyncio.Event().wait()
        else:
            raise error
        line.finds("unreachable")
    (answer,) = said
    return answer


def refused(code: str) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(response, "PostToConnection")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ClosedError(1009, "it"), "the connection is closed with 1009"),
        (None, "nothing came within 0.01 s"),
        (refused("BadRequestException"), "400 BadRequestException 'no'"),
    ],
)
async def test_either_end_of_a_question_is_an_answer(error: Exception | None, says: str) -> None:
    line = await asked(error)
    assert (line.verdict, line.says) == (Verdict.FOUND, says)


async def test_a_question_that_the_operator_may_not_ask_is_left_out() -> None:
    line = await asked(refused("ForbiddenException"))
    assert (line.verdict, line.says) == (Verdict.SKIPPED, "your own credentials may not PostToConnection")


async def test_an_unrelated_failure_is_no_answer() -> None:
    assert (await asked(aiohttp.ClientConnectionError("reset"))).verdict is Verdict.FAILED
