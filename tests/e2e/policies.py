"""Takes each right away from each function in turn, and shows by a test that fails that it was needed.

`make policies` runs it: some minutes, so not a part of `make test`. The rights are taken from the running stack's own
roles, so what is shown is shown of template.yaml.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from harness import stack as stacks
from harness.stack import Stack
from tests.e2e import test_acknowledging as acknowledging
from tests.e2e import test_functions as tests
from tests.e2e import test_sessions as sessions
from tests.e2e.roles import Role

Proof = Callable[[Stack], Awaitable[None]]

PROOFS: dict[str, dict[str, Proof]] = {
    "Connect": {
        "dynamodb:PutItem ConnectionsTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:UpdateItem UsersTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_a_connection_may_watch_a_hundred_users_from_its_start,
        "dynamodb:PutItem EventsTable": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "secretsmanager:GetSecretValue": tests.test_a_ping_is_answered,
        "sqs:SendMessage FarewellsQueue": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
    },
    "Disconnect": {
        "dynamodb:Query ConnectionsTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:UpdateItem UsersTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
    },
    "Default": {
        "dynamodb:GetItem ConnectionsTable": tests.test_a_ping_is_answered,
        "dynamodb:UpdateItem ConnectionsTable": tests.test_traffic_renews_a_lease_past_its_half_life,
        "dynamodb:Query ConnectionsTable": tests.test_sync_is_answered_with_the_users_online,
        "dynamodb:Query AudienceIndex": tests.test_sync_is_answered_with_the_users_online,
        "dynamodb:Query OnlineIndex": tests.test_sync_is_answered_with_the_users_online,
        "dynamodb:Query EventsTable": tests.test_sync_is_answered_with_the_users_online,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_watching_users_returns_their_state_until_unwatching,
        "dynamodb:BatchGetItem UsersTable": tests.test_watching_users_returns_their_state_until_unwatching,
        "dynamodb:PutItem EventsTable": tests.test_a_connection_that_nobody_knows_is_sent_back,
        "execute-api:ManageConnections POST": tests.test_a_snapshot_that_no_frame_can_hold_comes_in_pages,
        "dynamodb:DeleteItem EventsTable": acknowledging.test_a_message_that_one_device_acknowledges_is_not_reported,
        "secretsmanager:GetSecretValue": sessions.test_a_newer_token_lets_a_connection_live_longer,
        "sqs:SendMessage FarewellsQueue": tests.test_a_connection_that_nobody_knows_is_sent_back,
    },
    "Ingest": {
        "dynamodb:PutItem EventsTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:UpdateItem EventsTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:UpdateItem UsersTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:GetItem UsersTable": tests.test_the_end_of_a_users_sessions_ends_their_connections,
        "dynamodb:BatchGetItem ConnectionsTable": tests.test_the_end_of_a_users_sessions_ends_their_connections,
        "dynamodb:GetItem EventsTable": (
            acknowledging.test_a_check_is_ordered_again_for_an_event_that_the_bus_delivers_twice
        ),
        "dynamodb:BatchGetItem UsersTable": acknowledging.test_a_recipient_without_a_connection_is_reported_at_once,
        "sqs:SendMessage DeadlinesQueue": acknowledging.test_a_recipient_without_a_connection_is_reported_at_once,
        "sqs:SendMessage RejectedEventsQueue": (
            tests.test_an_event_that_breaks_its_schema_is_kept_whole_with_the_reason
        ),
        "sqs:ChangeMessageVisibility BackendEventsQueue": (
            tests.test_an_event_that_cannot_be_taken_in_comes_again_within_seconds
        ),
    },
    "Announce": {
        "dynamodb:BatchWriteItem EventsTable": (
            tests.test_a_listener_is_announced_on_the_feed_and_missed_after_the_grace_period
        ),
        "sqs:SendMessage DeadlinesQueue": (
            tests.test_a_listener_is_announced_on_the_feed_and_missed_after_the_grace_period
        ),
        "events:PutEvents": tests.test_the_bus_is_told_who_came_online,
        "sqs:SendMessage StreamFailuresQueue": (
            tests.test_a_change_that_cannot_be_read_is_given_up_and_holds_up_no_other
        ),
    },
    "Broadcast": {
        "dynamodb:Query AudienceIndex": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "execute-api:ManageConnections POST": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "execute-api:ManageConnections DELETE": tests.test_the_end_of_a_users_sessions_ends_their_connections,
        "dynamodb:Query ConnectionsTable": tests.test_a_connection_that_is_gone_is_forgotten_when_it_is_posted_to,
        "dynamodb:BatchWriteItem ConnectionsTable": (
            tests.test_a_connection_that_is_gone_is_forgotten_when_it_is_posted_to
        ),
        "dynamodb:UpdateItem UsersTable": tests.test_a_connection_that_is_gone_is_forgotten_when_it_is_posted_to,
        "sqs:SendMessage StreamFailuresQueue": (
            tests.test_a_record_that_cannot_be_read_is_given_up_and_holds_up_no_other
        ),
    },
    "BroadcastWide": {
        "dynamodb:Query AudienceIndex": tests.test_an_event_for_everyone_reaches_every_connected_user,
        "execute-api:ManageConnections POST": tests.test_an_event_for_everyone_reaches_every_connected_user,
        "execute-api:ManageConnections DELETE": tests.test_a_client_that_reads_no_event_for_everyone_is_closed,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_an_event_for_everyone_forgets_a_connection_that_is_gone,
        "dynamodb:UpdateItem UsersTable": tests.test_an_event_for_everyone_forgets_a_connection_that_is_gone,
        "sqs:SendMessage StreamFailuresQueue": tests.test_an_unreadable_event_for_everyone_is_given_up,
    },
    "Deadlines": {
        "dynamodb:UpdateItem UsersTable": (
            tests.test_a_listener_is_announced_on_the_feed_and_missed_after_the_grace_period
        ),
        "dynamodb:GetItem EventsTable": acknowledging.test_a_recipient_without_a_connection_is_reported_at_once,
        "dynamodb:DeleteItem EventsTable": acknowledging.test_a_message_that_was_reported_as_undelivered_is_settled,
        "events:PutEvents": acknowledging.test_a_recipient_without_a_connection_is_reported_at_once,
    },
    "Farewell": {
        "execute-api:ManageConnections POST": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "execute-api:ManageConnections DELETE": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "sqs:SendMessage FarewellsQueue": tests.test_a_farewell_to_a_connection_that_is_not_open_yet_is_tried_again,
    },
    "Sweep": {
        "dynamodb:Scan ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:Query ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:UpdateItem ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:UpdateItem UsersTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:Query OnlineIndex": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:GetItem EventsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "execute-api:ManageConnections GET": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:PutItem EventsTable": tests.test_a_connection_that_has_outlived_two_hours_is_asked_to_come_again,
        "dynamodb:UpdateItem EventsTable": tests.test_a_call_whose_end_never_comes_is_let_go,
        "dynamodb:Query OpenCallsIndex": tests.test_a_call_whose_end_never_comes_is_let_go,
    },
}

NOT_PROVEN = {
    # For who can neither be served nor closed, which the gateway lets nobody be; tests/chaos has it.
    "BroadcastWide": {"dynamodb:Query ConnectionsTable"},
}

LAMBDAS_OWN = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage StreamFailuresQueue",
}
"""What Lambda itself does in a function's name. The emulator asks for none of these: tests/template holds them."""

PROVEN_ELSEWHERE = {"dynamodb:DeleteItem ConnectionsTable"}
"""Needed for a connection that can be neither posted to nor closed, which a gateway that works has none of."""

FAILURES = (AssertionError, TimeoutError, aiohttp.ClientError, KeyError, ValueError)
REMEMBERED = {"secretsmanager:GetSecretValue"}
"""Rights whose use a function remembers: it must start anew to need them."""


def is_lambdas_own(name: str) -> bool:
    return name in LAMBDAS_OWN | PROVEN_ELSEWHERE or name.split(maxsplit=1)[0] in LAMBDAS_OWN


@pytest.fixture
async def judged_anew(stack: Stack) -> None:
    """Let the gateway ask for the rights of each caller of its management API, each time."""
    await stack.set_gateway(decision_seconds=0.001)


@pytest.mark.parametrize("function", PROOFS)
def test_every_right_of_a_function_has_a_proof(stack: Stack, function: str) -> None:
    proven = PROOFS[function].keys()
    rights = {name for name in Role(stack, function).rights() if name in proven or not is_lambdas_own(name)}
    assert rights - NOT_PROVEN.get(function, set()) == proven


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param(function, name, id=f"{function}: {name}: {proof.__name__}")
        for function, proofs in PROOFS.items()
        for name, proof in proofs.items()
    ],
)
@pytest.mark.usefixtures("judged_anew")
async def test_a_test_fails_without_the_right(
    stack: Stack, function: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, proof = Role(stack, function), PROOFS[function][name]
    monkeypatch.setattr(stacks, "WITHIN", 12.0)
    with role.without(role.rights()[name]):
        if name in REMEMBERED:
            stack.restart_function(function)
        with pytest.raises(FAILURES):
            await proof(stack)
    await tests.test_a_ping_is_answered(stack)  # with it, all is well again
