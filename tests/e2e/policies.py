"""Removes each right of each function in turn, and shows by a failing test that the function needs it.

`make policies` runs it. It takes some minutes, so it is not a part of `make test`. It removes the rights from the
running stack's own roles, so the result holds for template.yaml.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from harness import stack as stacks
from harness.stack import Stack
from listener_realtime.admin import AdminError
from tests.e2e import test_acknowledging as acknowledging
from tests.e2e import test_blocks as blocks
from tests.e2e import test_functions as tests
from tests.e2e import test_refusals as refusals
from tests.e2e import test_sessions as sessions
from tests.e2e.roles import Role

Proof = Callable[[Stack], Awaitable[None]]

PROOFS: dict[str, dict[str, Proof]] = {
    "Connect": {
        "dynamodb:PutItem ConnectionsTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:UpdateItem UsersTable": tests.test_a_connection_is_registered_and_forgotten_with_its_end,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_a_connection_may_watch_a_hundred_users_from_its_start,
        "dynamodb:PutItem EventsTable": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "dynamodb:UpdateItem EventsTable": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "secretsmanager:GetSecretValue": tests.test_a_ping_is_answered,
        "sqs:SendMessage FarewellsQueue": tests.test_a_client_without_a_token_gets_an_error_and_is_closed,
        "dynamodb:BatchGetItem ConnectionsTable": refusals.test_a_newcomer_at_the_limit_replaces_the_dead,
        "dynamodb:Query ConnectionsTable": refusals.test_a_newcomer_at_the_limit_replaces_the_dead,
        "dynamodb:DeleteItem ConnectionsTable": refusals.test_a_newcomer_at_the_limit_replaces_the_dead,
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
        "dynamodb:GetItem EventsTable": tests.test_sync_is_answered_with_the_users_online,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_watching_users_returns_their_state_until_unwatching,
        "dynamodb:BatchGetItem UsersTable": tests.test_watching_users_returns_their_state_until_unwatching,
        "dynamodb:UpdateItem UsersTable": tests.test_a_listener_sets_their_own_status_and_sees_it_counted_and_kept,
        "dynamodb:BatchGetItem BlocksTable": (
            blocks.test_a_user_with_many_blocks_is_hidden_from_all_of_them_and_from_nobody_else
        ),
        "dynamodb:Query BlocksTable": (
            blocks.test_history_is_hidden_from_whom_a_user_has_blocked_since_and_shown_to_whom_they_have_not
        ),
        "dynamodb:PutItem EventsTable": tests.test_a_connection_that_nobody_knows_is_sent_back,
        "execute-api:ManageConnections POST": tests.test_a_snapshot_that_no_frame_can_hold_comes_in_pages,
        "dynamodb:UpdateItem EventsTable": tests.test_as_many_messages_at_once_as_allowed_are_answered,
        "dynamodb:DeleteItem EventsTable": acknowledging.test_a_message_that_one_device_acknowledges_is_not_reported,
        "secretsmanager:GetSecretValue": sessions.test_a_newer_token_lets_a_connection_live_longer,
        "sqs:SendMessage FarewellsQueue": tests.test_a_connection_that_nobody_knows_is_sent_back,
    },
    "Ingest": {
        "dynamodb:PutItem EventsTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:UpdateItem EventsTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:UpdateItem UsersTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:PutItem BlocksTable": blocks.test_blocks_hide_presence_and_nothing_else_on_one_socket_for_all,
        "dynamodb:UpdateItem BlocksTable": blocks.test_blocks_hide_presence_and_nothing_else_on_one_socket_for_all,
        "dynamodb:DeleteItem BlocksTable": blocks.test_blocks_hide_presence_and_nothing_else_on_one_socket_for_all,
        "dynamodb:GetItem UsersTable": tests.test_the_end_of_a_users_sessions_ends_their_connections,
        "dynamodb:BatchGetItem ConnectionsTable": tests.test_the_end_of_a_users_sessions_ends_their_connections,
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
            tests.test_a_listener_is_announced_on_the_feed_as_online_and_offline_after_the_grace_period
        ),
        "sqs:SendMessage DeadlinesQueue": (
            tests.test_a_listener_is_announced_on_the_feed_as_online_and_offline_after_the_grace_period
        ),
        "events:PutEvents": tests.test_the_bus_hears_of_a_user_who_came_online,
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
        "dynamodb:GetItem EventsTable": tests.test_a_call_reaches_both_participants_and_makes_them_busy,
        "dynamodb:UpdateItem EventsTable": tests.test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again,
        "dynamodb:BatchGetItem BlocksTable": blocks.test_the_only_one_who_hears_of_a_user_with_many_blocks_hears_all,
        "dynamodb:Query BlocksTable": (
            blocks.test_a_user_with_many_blocks_is_hidden_from_all_of_them_and_from_nobody_else
        ),
        "sqs:SendMessage LateQueue": tests.test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again,
        "sqs:SendMessage StreamFailuresQueue": (
            tests.test_a_record_that_cannot_be_read_is_given_up_and_holds_up_no_other
        ),
    },
    "BroadcastWide": {
        "dynamodb:Query AudienceIndex": tests.test_an_event_for_everyone_reaches_every_connected_user,
        "execute-api:ManageConnections POST": tests.test_an_event_for_everyone_reaches_every_connected_user,
        "dynamodb:GetItem EventsTable": tests.test_an_event_for_everyone_reaches_every_connected_user,
        "dynamodb:UpdateItem EventsTable": tests.test_a_client_that_reads_no_event_for_everyone_is_closed,
        "dynamodb:BatchGetItem BlocksTable": blocks.test_the_only_one_who_hears_of_a_user_with_many_blocks_hears_all,
        "dynamodb:Query BlocksTable": (
            blocks.test_a_user_with_many_blocks_is_hidden_from_all_of_them_and_from_nobody_else
        ),
        "sqs:SendMessage LateQueue": tests.test_a_client_that_reads_no_event_for_everyone_is_closed,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_an_event_for_everyone_forgets_a_connection_that_is_gone,
        "dynamodb:UpdateItem UsersTable": tests.test_an_event_for_everyone_forgets_a_connection_that_is_gone,
        "sqs:SendMessage StreamFailuresQueue": tests.test_an_unreadable_event_for_everyone_is_given_up,
    },
    "Deadlines": {
        "dynamodb:UpdateItem UsersTable": (
            tests.test_a_listener_is_announced_on_the_feed_as_online_and_offline_after_the_grace_period
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
    "Late": {
        "dynamodb:GetItem EventsTable": tests.test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again,
        "execute-api:ManageConnections POST": (
            tests.test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again
        ),
        "execute-api:ManageConnections DELETE": (
            tests.test_a_client_that_takes_nothing_in_is_closed_so_that_it_comes_again
        ),
    },
    "Admin": dict.fromkeys(
        (
            "dynamodb:BatchGetItem ConnectionsTable",
            "dynamodb:Scan ConnectionsTable",
            "dynamodb:GetItem UsersTable",
            "dynamodb:BatchGetItem UsersTable",
            "dynamodb:UpdateItem UsersTable",
            "dynamodb:Query OnlineIndex",
            "dynamodb:BatchWriteItem EventsTable",
        ),
        tests.test_a_backend_sees_who_is_connected_and_ends_their_connections,
    ),
    "Sweep": {
        "dynamodb:Scan ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:Query ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:UpdateItem ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:BatchWriteItem ConnectionsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:UpdateItem UsersTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:Query OnlineIndex": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:GetItem EventsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "execute-api:ManageConnections GET": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:Query EventsTable": tests.test_a_ghost_is_forgotten_and_a_silent_connection_is_spared,
        "dynamodb:PutItem EventsTable": tests.test_a_connection_that_has_outlived_two_hours_is_asked_to_come_again,
        "dynamodb:UpdateItem EventsTable": tests.test_a_call_whose_end_never_comes_is_ended,
        "dynamodb:Query OpenCallsIndex": tests.test_a_call_whose_end_never_comes_is_ended,
    },
}

_OF_POSITIONS = {"dynamodb:BatchGetItem EventsTable", "dynamodb:BatchWriteItem EventsTable"}

NOT_PROVEN = {
    # Claims of posts, without which a function posts less; tests/integration covers them.
    "Farewell": {"dynamodb:UpdateItem EventsTable"},
    # The view of everyone is stored when hundreds are online; tests/integration/test_views.py covers it.
    "Default": {"dynamodb:BatchWriteItem EventsTable"},
    # What instances tell each other of positions, without which clients that resume receive again what they had;
    # tests/integration/test_posted.py covers it.
    "Broadcast": _OF_POSITIONS,
    # And for connections that can be neither served nor closed, which the gateway never has; tests/chaos covers them.
    "BroadcastWide": {*_OF_POSITIONS, "dynamodb:Query ConnectionsTable"},
    # What `late` writes when a connection is closed, its $disconnect writes too. tests/integration and tests/model
    # cover these rights, and the messages that it puts off.
    "Late": {
        "dynamodb:Query ConnectionsTable",
        "dynamodb:BatchWriteItem ConnectionsTable",
        "dynamodb:UpdateItem UsersTable",
        "dynamodb:UpdateItem EventsTable",
        "sqs:SendMessage LateQueue",
    },
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
"""Rights that Lambda itself uses with a function's role. The emulator requires none; tests/template checks them."""

PROVEN_ELSEWHERE = {"dynamodb:DeleteItem ConnectionsTable"}
"""Needed for a connection that can be neither posted to nor closed, which a working gateway never has."""

FAILURES = (AssertionError, TimeoutError, aiohttp.ClientError, KeyError, ValueError, AdminError)
REMEMBERED = {"secretsmanager:GetSecretValue"}
"""Rights whose result a function caches: it needs them only after a new start."""


def is_lambdas_own(name: str) -> bool:
    return name in LAMBDAS_OWN | PROVEN_ELSEWHERE or name.split(maxsplit=1)[0] in LAMBDAS_OWN


@pytest.fixture
async def judged_anew(stack: Stack) -> None:
    """Make the gateway check the right of a caller of its management API for every request."""
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
