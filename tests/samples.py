"""The sample events of the folder `events`, for all tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "events"
KEY_ID = "sample"
SECRET = "the secret of the samples, which signs nothing else"


def names(function: str = "*") -> list[str]:
    """Return the names of the samples of one function, or of all."""
    return sorted(path.stem for path in FOLDER.glob(f"{function}.json")) + sorted(
        path.stem for path in FOLDER.glob(f"{function}.*.json") if function != "*"
    )


def sample(name: str) -> dict[str, Any]:
    """Return a fresh copy of a sample."""
    event: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return event


def backend_event(kind: str) -> dict[str, Any]:
    """Return a fresh copy of the backend's event in a sample of `ingest`, as EventBridge sends it."""
    (record,) = sample(f"ingest.{kind}")["Records"]
    event: dict[str, Any] = json.loads(record["body"])
    return event


def queued(*events: object, receives: int = 1) -> dict[str, Any]:
    """Return the batch of queue messages that `ingest` gets for events of EventBridge."""
    (record,) = sample("ingest.call_started")["Records"]
    attributes = {**record["attributes"], "ApproximateReceiveCount": str(receives)}
    return {
        "Records": [
            {
                **record,
                "messageId": f"message-{number}",
                "receiptHandle": f"receipt-{number}",
                "body": event if isinstance(event, str) else json.dumps(event),
                "attributes": attributes,
            }
            for number, event in enumerate(events)
        ]
    }


def code_points(text: str) -> str:
    """Return a name of a text for a test's id: `make mutants` did not find some ids with backslashes."""
    return " ".join(f"U+{ord(each):04X}" for each in text)
