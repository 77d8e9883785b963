"""The budget of posts: how many of each slot of time all instances together have claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from realtime.aws import retries
from realtime.aws.clients import aws_errors, error_code
from realtime.posting.shared_quota import Claim
from realtime.tables.dynamodb import attribute
from realtime.tables.events import CLAIMS_TTL_SECONDS, budget_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Budget:
    """The claims, an item for each slot in the Events table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def claim(self, slot_ms: int, posts: int, limit: int) -> Claim:
        """Claim posts of the slot that begins at `slot_ms`, all or none, as long as all claims stay within `limit`.

        It is tried once: a later answer would come too late. If the answer is lost, the posts lapse.
        """
        within_limit = "attribute_not_exists(claimed) OR claimed <= :room"
        values = {
            ":posts": attribute(posts),
            ":room": attribute(limit - posts),
            ":expires_at": attribute(slot_ms // 1000 + CLAIMS_TTL_SECONDS),
        }
        with aws_errors("claiming posts"), retries.none():
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=budget_key(slot_ms),
                    UpdateExpression="ADD claimed :posts SET expires_at = :expires_at",
                    ConditionExpression=within_limit,
                    ExpressionAttributeValues=values,
                    ReturnValues="UPDATED_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                found: Any = error.response
                return Claim(0, int(found["Item"]["claimed"]["N"]))
        return Claim(posts, int(answer["Attributes"]["claimed"]["N"]))
