"""Handshakes: which clients are accepted, by which URL and with the token in which place; how others are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from operate.verify.client import Client
from operate.verify.lines import FailedError, SkippedError
from operate.verify.run import VerifyRun
from operate.verify.runner import Notes, Scene
from realtime.messages import ENDPOINTS

_ANSWERED_WITHIN = 12.0
OPEN = "door.open"
PONG = "door.pong"
_ADDRESSES = {
    "door.execute-api": "Handshake by the API's own URL (execute-api)",
    "door.domain": "Handshake by the domain's mapping key",
    "door.cloudfront": "Handshake by CloudFront's /ws/{endpoint}",
}


async def _open(run: VerifyRun, notes: Notes) -> None:
    advice = "`realtime logs connect` shows its lines about the handshake."
    async with (
        notes.line(OPEN, advice, ["connect"], within=40),
        run.connect("notifications", run.new_user()) as client,
    ):
        await _pong(run, notes, client)


async def _pong(run: VerifyRun, notes: Notes, client: Client) -> None:
    within = _ANSWERED_WITHIN + 10  # time to find out why there is no answer
    async with notes.line(PONG, "`realtime logs default` shows why.", ["default"], within) as line:
        await client.send("ping")
        answer = await _answer(run, client)
        if answer.get("type") != "pong":
            raise FailedError(f"answered with {answer}")
        line.says = "the route response is deployed"


async def _answer(run: VerifyRun, client: Client) -> dict[str, object]:
    """Wait for an answer of any kind.

    Raises:
        FailedError: none comes; the error says which part that an answer needs is missing.
    """
    try:
        async with asyncio.timeout(_ANSWERED_WITHIN):
            return await client.hears(lambda _: True, "an answer")
    except TimeoutError:
        raise FailedError("a ping is not answered", await _why_silent(run)) from None


async def _why_silent(run: VerifyRun) -> str:
    """Find the missing part: a function that works, a selection expression, a route response, or a deployment."""
    complaint = await run.advice("", "default")
    if complaint:
        return complaint
    api = run.outputs["ApiId"]
    template = "template.yaml has it (DefaultRouteResponse): deploy again"
    try:
        routes = (await run.call("apigatewayv2", "get_routes", ApiId=api)).get("Items", [])
        route = next((each for each in routes if each.get("RouteKey") == "$default"), None)
        if route is None:
            return "The API has no route $default. template.yaml has one (DefaultRoute): deploy again."
        if route.get("RouteResponseSelectionExpression") != "$default":
            return (
                "The route $default has no RouteResponseSelectionExpression $default, so that API Gateway sends "
                "clients nothing that the function returns. template.yaml has it (DefaultRoute): deploy again."
            )
        found = await run.call("apigatewayv2", "get_route_responses", ApiId=api, RouteId=route["RouteId"])
        if not found.get("Items"):
            return (
                "The route $default has no route response, so that API Gateway sends clients nothing that the function "
                f"returns. {template}, or: aws apigatewayv2 create-route-response --api-id {api} --route-id "
                f"{route['RouteId']} --route-response-key '$default'"
            )
    except Exception:  # noqa: BLE001  # the operator will see what cannot be read here
        return (
            f"See that the route $default has a route response: aws apigatewayv2 get-routes --api-id {api}, then "
            f"get-route-responses. {template}."
        )
    return (
        "The route $default has its route response, but the stages do not seem to have it: deploy each again, with aws "
        f"apigatewayv2 create-deployment --api-id {api} --stage-name feed (then the others), and "
        "tell us that auto-deploy did not."
    )


def _endpoint(endpoint: str) -> Callable[[VerifyRun, Notes], Awaitable[None]]:
    async def play(run: VerifyRun, notes: Notes) -> None:
        async with notes.line(f"door.{endpoint}", blame=["connect"]), run.connect(endpoint, run.new_user()):
            pass

    return play


def _token_by(place: str) -> Callable[[VerifyRun, Notes], Awaitable[None]]:
    async def play(run: VerifyRun, notes: Notes) -> None:
        advice = "Does something between you and API Gateway take headers away?"
        async with (
            notes.line(f"door.{place}", advice, ["connect"]),
            run.connect("calls", run.new_user(), by=place) as client,
        ):
            if place == "subprotocol" and client.socket.protocol != "bearer":
                raise FailedError(
                    f"the subprotocol was answered with {client.socket.protocol!r}, not with 'bearer'",
                    "Browsers then give up. connect returns the header Sec-WebSocket-Protocol: what takes it away?",
                )

    return play


def _by(key: str) -> Callable[[VerifyRun, Notes], Awaitable[None]]:
    async def play(run: VerifyRun, notes: Notes) -> None:
        async with notes.line(key, blame=["connect"]) as line:
            base = address(run, key)
            async with run.connect("feed", run.new_user(), base=base):
                line.says = f"{base}/feed"

    return play


def address(run: VerifyRun, key: str) -> str:
    """Return the URL before the endpoint.

    Raises:
        SkippedError: the stack has no such address.
    """
    parameters = run.parameters
    if key == "door.execute-api":
        if parameters.get("DisableExecuteApiEndpoint") == "true":
            raise SkippedError("DisableExecuteApiEndpoint is true")
        return run.execute_api_url()
    if key == "door.domain":
        if not parameters.get("DomainName"):
            raise SkippedError("the stack has no DomainName")
        return f"wss://{parameters['DomainName']}"
    if parameters.get("CloudFront") != "true":
        raise SkippedError("CloudFront is not true")
    return run.deployment.websocket_url


async def _refused(run: VerifyRun, notes: Notes) -> None:
    await _refusal(run, notes, "door.refused", "no.good.token", ("AUTH_FAILED", 401))
    scope = " ".join(each for each in ENDPOINTS if each != "calls")
    token = run.token(run.new_user(), scope=scope)
    await _refusal(run, notes, "door.scope", token, ("PERMISSION_DENIED", 403))


async def _refusal(run: VerifyRun, notes: Notes, key: str, token: str, wanted: tuple[str, int]) -> None:
    """Be refused by a frame and closed, or by the handshake's status."""
    code, status = wanted
    advice = "The function farewell tells it: `realtime logs farewell`, and see the queue FarewellsQueueUrl."
    async with notes.line(key, advice, ["connect", "farewell"], within=30) as line:
        if run.parameters.get("RejectionMode") == "handshake":
            await _refused_with(run, token, status)
            line.says = f"status {status}"
            return
        async with run.open("calls", token) as client:
            heard = await client.hears("error")
            if heard["data"].get("code") != code:
                raise FailedError(f"refused with {heard['data']}, not with {code}")
            close, reason = await client.closed()
            line.says = f"{code}, then closed with {close}" + (f" {reason!r}" if reason else "")
            line.facts |= {"close_code": close, "close_reason": reason}
            if close != 1000:
                raise FailedError(f"closed with {close}, where 1000 is documented")


async def _refused_with(run: VerifyRun, token: str, status: int) -> None:
    try:
        async with run.open("calls", token):
            pass
    except aiohttp.WSServerHandshakeError as refusal:
        if refusal.status != status:
            raise FailedError(f"refused with {refusal.status}, not with {status}") from refusal
        return
    raise FailedError("let in", "RejectionMode is handshake: is the version of connect an old one?")


SCENES = [
    Scene(
        "door",
        {PONG: "A ping is answered with a pong", OPEN: "A client with a good token is let in"},
        _open,
        ("setup.tokens",),
    ),
    *(
        Scene(f"door {each}", {f"door.{each}": f"Handshake on {each}, token in the query"}, _endpoint(each), (OPEN,))
        for each in (*ENDPOINTS, "live")
    ),
    Scene(
        "subprotocol",
        {"door.subprotocol": "Token as a subprotocol, answered with bearer"},
        _token_by("subprotocol"),
        (OPEN,),
    ),
    Scene("header", {"door.header": "Token in the Authorization header"}, _token_by("header"), (OPEN,)),
    *(Scene(key, {key: title}, _by(key), (OPEN,)) for key, title in _ADDRESSES.items()),
    Scene(
        "refusals",
        {
            "door.refused": "A bad token is refused: AUTH_FAILED",
            "door.scope": "A token for other endpoints is refused: PERMISSION_DENIED",
        },
        _refused,
        (OPEN,),
    ),
]
