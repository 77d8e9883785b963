"""The claims of posts, in moto's DynamoDB behind the strict one."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from realtime.errors import Unavailable
from realtime.posting.shared_quota import Claim
from realtime.tables.budget import Budget
from tests.support.cloud import Cloud
from tests.support.strict_dynamodb import Client

SLOT_MS = 1_705_314_600_200


@pytest.fixture
def budget(cloud: Cloud) -> Budget:
    return Budget(cloud.dynamodb, "EventsTable")


def claims(cloud: Cloud) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.dynamodb.scan(TableName="EventsTable")["Items"]
    return found


def test_claims_are_granted_until_the_limit_and_then_say_what_is_left(budget: Budget) -> None:
    assert budget.claim(SLOT_MS, 60, 100) == Claim(60, 60)
    assert budget.claim(SLOT_MS, 41, 100) == Claim(0, 60)
    assert budget.claim(SLOT_MS, 40, 100) == Claim(40, 100)
    assert budget.claim(SLOT_MS, 1, 100) == Claim(0, 100)


def test_who_may_use_more_of_a_slot_gets_what_is_kept_from_the_others(budget: Budget) -> None:
    assert budget.claim(SLOT_MS, 90, 90) == Claim(90, 90)
    assert budget.claim(SLOT_MS, 1, 90) == Claim(0, 90)
    assert budget.claim(SLOT_MS, 10, 100) == Claim(10, 100)


def test_each_slot_has_an_item_that_lapses_and_that_broadcast_is_not_shown(budget: Budget, cloud: Cloud) -> None:
    budget.claim(SLOT_MS, 60, 100)
    budget.claim(SLOT_MS + 200, 7, 100)
    assert sorted(claims(cloud), key=lambda item: str(item["audience"])) == [
        {
            "audience": {"S": f"budget/{slot_ms}"},
            "event_id": {"S": "-"},
            "claimed": {"N": posts},
            "expires_at": {"N": str(SLOT_MS // 1000 + 3600)},
        }
        for slot_ms, posts in ((SLOT_MS, "60"), (SLOT_MS + 200, "7"))
    ]


def test_a_claim_that_fails_is_not_tried_again() -> None:
    tries = []

    def throttled(operation: str, _request: dict[str, Any]) -> dict[str, Any]:
        tries.append(operation)
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)

    client: Any = Client(throttled)
    with pytest.raises(Unavailable, match="claiming posts: ThrottlingException"):
        Budget(client, "EventsTable").claim(SLOT_MS, 1, 100)
    assert tries == ["update_item"]
