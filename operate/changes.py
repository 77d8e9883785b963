"""A change set of CloudFormation, in plain words: what an update makes, changes, replaces and deletes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

DATA: Final = {
    "AWS::DynamoDB::Table": "its items are lost",
    "AWS::SQS::Queue": "its messages are lost",
    "AWS::Logs::LogGroup": "its lines are lost",
    "AWS::SecretsManager::Secret": "tokens signed with it are refused",
    "AWS::Events::EventBus": "backends' events are lost until they use the new one",
    "AWS::ApiGatewayV2::Api": "every client is disconnected, and the URL changes",
}
"""What it means to lose or to replace a resource that holds something."""

_ORDINARY: Final = frozenset(
    {"AWS::Lambda::Version", "AWS::Lambda::LayerVersion", "AWS::AppConfig::HostedConfigurationVersion"}
)
# Every deployment makes new ones of these.


@dataclass(frozen=True)
class Change:
    """One resource that an update touches. `verb` is makes, changes, may replace, replaces, removes or deletes."""

    verb: str
    kind: str
    logical_id: str
    because: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether something that people need is lost."""
        return self.verb in ("replaces", "may replace", "deletes") and self.kind in DATA

    def __str__(self) -> str:
        short = self.kind.removeprefix("AWS::").replace("::", " ")
        because = f" ({self.because})" if self.because else ""
        warning = f" – {DATA[self.kind]}" if self.is_loss else ""
        return f"{'! ' if self.is_loss else '  '}{self.verb} {self.logical_id}, {short}{because}{warning}"


def read(changes: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Read the `Changes` of DescribeChangeSet."""
    for each in changes:
        change = each.get("ResourceChange")
        if change is None:
            continue
        verb = {"Add": "makes", "Import": "takes in", "Dynamic": "may change"}.get(change["Action"], "changes")
        if change["Action"] == "Remove":
            # With a DeletionPolicy of Retain the stack forgets the resource, and it stays.
            verb = "lets go of" if change.get("PolicyAction") == "Retain" else "deletes"
        elif change["Action"] == "Modify":
            verb = {"True": "replaces", "Conditional": "may replace"}.get(change.get("Replacement", "False"), "changes")
        yield Change(
            verb, change["ResourceType"], change["LogicalResourceId"], _because(change) if verb != "makes" else ""
        )


def _because(change: Mapping[str, Any]) -> str:
    """Return the names of the properties that change, of those that force a replacement if there are any."""
    targets = [each.get("Target", {}) for each in change.get("Details", [])]
    forcing = [each for each in targets if each.get("RequiresRecreation") in ("Always", "Conditionally")]
    return ", ".join(sorted({str(each.get("Name") or each.get("Attribute", "")) for each in forcing or targets} - {""}))


def told(changes: Iterable[Change]) -> list[str]:
    """Return lines for a person: what is lost first, then everything else, the ordinary of a deployment in one line."""
    found = sorted(changes, key=lambda each: (not each.is_loss, each.kind, each.logical_id))
    ordinary = [each for each in found if each.kind in _ORDINARY and not each.is_loss]
    lines = [str(each) for each in found if each not in ordinary]
    if ordinary:
        lines.append(f"  publishes new versions, as each deployment does ({len(ordinary)} resources)")
    return lines or ["  nothing changes"]
