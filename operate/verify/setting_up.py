"""The first checks, which all others need."""

from __future__ import annotations

import asyncio

from operate.verify.bus import Ear
from operate.verify.diagnosis import is_denied
from operate.verify.lines import FailedError
from operate.verify.run import VerifyRun, until
from operate.verify.runner import Notes, Scene

OUTPUTS = (
    "WebSocketUrl",
    "ManagementUrl",
    "ApiId",
    "BusName",
    "TokenKeys",
    "ConnectionsTableName",
    "UsersTableName",
    "BlocksTableName",
    "EventsTableName",
    "BackendEventsQueueUrl",
    "RejectedEventsQueueUrl",
    "FailedEventsQueueUrl",
    "UndeliveredEventsQueueUrl",
    "StreamFailuresQueueUrl",
    "DeadlinesDeadLetterQueueUrl",
    "LateDeadLetterQueueUrl",
)


async def _outputs(run: VerifyRun, notes: Notes) -> None:
    async with notes.line(
        "setup.outputs", "Is it the name of a stack of this service? Deploy it again: make deploy"
    ) as line:
        await run.describe()
        missing = [name for name in OUTPUTS if not run.outputs.get(name)]
        if missing:
            raise FailedError(
                f"the stack has no output {', '.join(missing)}",
                "It was deployed from another version of template.yaml: deploy this one, with make deploy",
            )
        line.says = f"{len(run.outputs)} outputs, {len(run.parameters)} parameters"


async def _tokens(run: VerifyRun, notes: Notes) -> None:
    place = run.outputs.get("TokenKeys", "")
    async with notes.line("setup.tokens") as line:
        run.keys = await _keys(run, place)
        run.token("nobody")
        line.says = f"{len(run.keys)} in {_kind(place)}"


async def _keys(run: VerifyRun, place: str) -> dict[str | None, str]:
    try:
        return await asyncio.to_thread(run.deployment.token_keys)
    except Exception as error:
        if is_denied(error):
            raise
        if place.startswith("arn:"):
            advice = (
                f"Put the keys there again: aws secretsmanager restore-secret --secret-id {place}, or put-secret-value "
                'with a JSON object of key id to secret, as {"1": "at least 32 bytes"}. Until then no token is good.'
            )
        else:
            advice = (
                f"Put them there: aws ssm put-parameter --name {place} --type SecureString --value "
                '\'{"1": "a secret of at least 32 bytes"}\'. Until then no token is good.'
            )
        raise FailedError(f"the keys that sign tokens cannot be read from {place}: {error}", advice) from error


def _kind(place: str) -> str:
    return "Secrets Manager" if place.startswith("arn:") else "SSM"


async def _ear(run: VerifyRun, notes: Notes) -> None:
    async with notes.line(
        "setup.bus",
        "A rule on the bus does not reach a queue: see that the bus named by the output BusName is there, and that no "
        "policy of your organisation forbids EventBridge to send to SQS.",
        within=45,
    ):
        run.ear = Ear(run)
        await run.ear.open()
        user = run.new_user()

        async def heard() -> bool:
            # A new rule takes a while to work, so it may miss the first events.
            await run.publish("system_notification", {"user_id": user, "text": "probe"}, to=[user])
            return bool(run.ear.has_heard(lambda event: event["source"] == run.source))

        await until(heard, every=1.0)


SCENES = [
    Scene("outputs", {"setup.outputs": "The stack has all its outputs"}, _outputs),
    Scene("tokens", {"setup.tokens": "The keys that sign tokens can be read"}, _tokens, needs=("setup.outputs",)),
    Scene("bus", {"setup.bus": "The bus takes events, and a rule on it works"}, _ear, needs=("setup.outputs",)),
]
