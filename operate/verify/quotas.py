"""Compares the account's quotas with the settings of the stack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from operate.verify.diagnosis import explain, is_denied
from operate.verify.lines import FailedError, SkippedError
from operate.verify.run import VerifyRun
from operate.verify.runner import Notes, Scene

REQUESTS, CONCURRENCY = "L-8A5B8E43", "L-B99A9384"
"""The codes of the quotas "Throttle rate" (apigateway) and "Concurrent executions" (lambda)."""
_CONNECTIONS = re.compile(r"new connections|websocket.*connections", re.IGNORECASE)
_NEEDED_CONCURRENCY = 100
REQUESTS_PER_SECOND = (500, 1000, 1250, 2000, 2500, 4000, 5000, 8000, 10000, 20000, 50000, 100000)
"""The values that the template's parameter may have."""
THROUGHPUT = "/ssm/parameter-store/high-throughput-enabled"
_INCREASE = "Ask for more in the console of Service Quotas, or set the parameter lower."


@dataclass(frozen=True)
class Judgement:
    """A quota compared with the stack's settings; `advice` is "" if all is well, `fails` is true if it cannot work."""

    says: str
    advice: str = ""
    fails: bool = False


def judge_requests(quota: float, requests_per_second: float) -> Judgement:
    """Compare RequestsPerSecond, which all functions of the stack share, with the account's requests a second."""
    says = f"{quota:,.0f} a second in the account, RequestsPerSecond {requests_per_second:,.0f} for this stack"
    if requests_per_second > quota:
        return Judgement(
            says,
            "The stack is given more than the account has: posts, handshakes and messages of clients are throttled at "
            f"random. Deploy with RequestsPerSecond={_fitting(quota)}, or ask for more in the console of Service "
            "Quotas.",
            fails=True,
        )
    return Judgement(says)


def _fitting(quota: float) -> int:
    """Return the greatest value of RequestsPerSecond that a quota allows."""
    return max((value for value in REQUESTS_PER_SECOND if value <= quota), default=REQUESTS_PER_SECOND[0])


def judge_concurrency(quota: float, ingest: float) -> Judgement:
    """Compare Lambda's concurrent executions with the number that the functions need at once."""
    says = f"{quota:,.0f} in the account, IngestConcurrency {ingest:g}"
    if ingest >= quota:
        return Judgement(
            says,
            f"ingest alone may take all of them, and nobody could connect: set IngestConcurrency lower. {_INCREASE}",
            fails=True,
        )
    if quota < _NEEDED_CONCURRENCY:
        return Judgement(
            says,
            "A new account's. Twelve functions share it: 30 clients that connect at once are throttled (500 for them). "
            "Ask for 1,000 in the console of Service Quotas.",
            fails=quota < 2 * ingest,
        )
    return Judgement(says)


def judge_connections(quota: float) -> Judgement:
    """Say how long a reconnect of all clients takes."""
    minutes = 100_000 / quota / 60
    return Judgement(
        f"{quota:,.0f} a second in the account: 100,000 clients take {minutes:,.1f} min, and longer where the stages "
        "let in fewer (RequestsPerSecond, LiveShare, PostsShare)"
    )


def judge_throughput(place: str, setting: str, connections: float | None) -> Judgement:
    """Compare Parameter Store's throughput with a storm of handshakes: each new environment reads the keys once."""
    if place.startswith("arn:"):
        return Judgement("the keys are in Secrets Manager, which has 10,000 reads a second")
    if setting == "true":
        return Judgement("high throughput is on")
    return Judgement(
        "40 reads a second",
        f"The token keys are in Parameter Store, and {connections or 500:,.0f} clients may come a second: each new "
        "environment of connect reads the keys. Switch high throughput on, or keep them in Secrets Manager: aws ssm "
        f"update-service-setting --setting-id {THROUGHPUT} --setting-value true",
    )


def find(quotas: Iterable[Mapping[str, Any]], code: str) -> float | None:
    """Return the value of a quota by its code."""
    return next((float(each["Value"]) for each in quotas if each.get("QuotaCode") == code), None)


def find_connections(quotas: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the quota of new WebSocket connections. It is found by its name, for no document prints its code."""
    return next((float(each["Value"]) for each in quotas if _CONNECTIONS.search(each.get("QuotaName", ""))), None)


async def _quotas(run: VerifyRun, notes: Notes) -> None:
    if run.is_emulated:
        for key in LINES:
            notes.skips(key, "an emulator has no quotas")
        return
    listed = await _listed(run, "apigateway")
    connections = find_connections(listed) if isinstance(listed, list) else None
    judgements = {
        "quota.requests": lambda quota: judge_requests(quota, run.number("RequestsPerSecond", 8000)),
        "quota.connections": judge_connections,
    }
    values = {"quota.requests": REQUESTS, "quota.connections": None}
    for key, judge in judgements.items():
        if not isinstance(listed, list):
            await _cannot(notes, key, listed)
            continue
        code = values[key]
        value = find(listed, code) if code else connections
        names = sorted(each.get("QuotaName", "") for each in listed)
        await _judged(notes, key, value, judge, names=names)
    concurrency = await _listed(run, "lambda")
    if isinstance(concurrency, list):
        value = find(concurrency, CONCURRENCY)
        ingest = run.number("IngestConcurrency", 16)
        await _judged(notes, "quota.concurrency", value, lambda quota: judge_concurrency(quota, ingest))
    else:
        await _cannot(notes, "quota.concurrency", concurrency)
    await _throughput(run, notes, connections)


async def _listed(run: VerifyRun, service: str) -> list[dict[str, Any]] | Exception:
    found: list[dict[str, Any]] = []
    start: dict[str, str] = {}
    try:
        while True:
            page = await run.call("service-quotas", "list_service_quotas", ServiceCode=service, **start)
            found += page.get("Quotas", [])
            if not page.get("NextToken"):
                return found
            start = {"NextToken": page["NextToken"]}
    except Exception as error:  # noqa: BLE001  # each line reports its own error
        return error


async def _throughput(run: VerifyRun, notes: Notes, connections: float | None) -> None:
    key, place = "quota.parameters", run.outputs.get("TokenKeys", "")
    setting = ""
    if not place:
        return  # no shared secrets, but public keys alone
    if not place.startswith("arn:"):
        try:
            answer = await run.call("ssm", "get_service_setting", SettingId=THROUGHPUT)
            setting = answer["ServiceSetting"]["SettingValue"]
        except Exception as error:  # noqa: BLE001
            await _cannot(notes, key, error)
            return
    _say(notes, key, judge_throughput(place, setting, connections))


async def _judged(notes: Notes, key: str, value: float | None, judge: Any, **facts: Any) -> None:
    if value is None:
        await notes.fails(key, SkippedError("Service Quotas lists no such quota: look at it in the console"))
        return
    judgement: Judgement = judge(value)
    if judgement.fails:
        await notes.fails(key, FailedError(judgement.says, judgement.advice))
    else:
        _say(notes, key, judgement, value=value, **facts)


def _say(notes: Notes, key: str, judgement: Judgement, **facts: Any) -> None:
    if judgement.advice:
        notes.warns(key, judgement.says, judgement.advice, **facts)
    else:
        notes.passes(key, judgement.says, **facts)


async def _cannot(notes: Notes, key: str, error: Exception) -> None:
    """Skip the lines about quotas without the right to read them: a stack that works does not depend on them."""
    problem = explain(error)
    await notes.fails(key, problem if is_denied(error) else SkippedError(problem.says))


LINES = {
    "quota.requests": "Quota: requests a second of API Gateway",
    "quota.connections": "Quota: new connections a second",
    "quota.concurrency": "Quota: Lambda's concurrent executions",
    "quota.parameters": "Quota: reads of the token keys",
}
SCENES = [Scene("quotas", LINES, _quotas, ("setup.outputs",))]
