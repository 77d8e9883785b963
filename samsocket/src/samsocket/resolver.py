"""The values of a template's intrinsic functions in a deployed stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from samsocket.errors import UnresolvedError

if TYPE_CHECKING:
    from samsocket.template import Stack, Template

_VARIABLE: Final = re.compile(r"\$\{(!?)([^}]+)\}")
_GATEWAY: Final = ("AWS::ApiGatewayV2::", "AWS::ApiGateway::")


class Resolver:
    """Works out the values of intrinsic functions in one template for one deployed stack."""

    def __init__(self, template: Template, stack: Stack) -> None:
        """Bind the two together."""
        self._template, self._stack = template, stack
        self.stack = stack
        self._pseudo: Mapping[str, Any] = {
            "AWS::AccountId": stack.account,
            "AWS::NoValue": None,
            "AWS::NotificationARNs": [],
            "AWS::Partition": stack.partition,
            "AWS::Region": stack.region,
            "AWS::StackName": stack.name,
            "AWS::URLSuffix": "amazonaws.com.cn" if stack.partition == "aws-cn" else "amazonaws.com",
        }

    def resolve(self, value: Any) -> Any:
        """Return the value with all intrinsic functions in it replaced.

        Raises:
            UnresolvedError: one of them needs a value that neither the template nor the stack has.
        """
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name.startswith("Fn::"):
                try:
                    return self._function(name, argument)
                except (AttributeError, LookupError, TypeError, ValueError) as error:  # its argument has another shape
                    raise UnresolvedError(f"{name} {argument}") from error
        return {key: self.resolve(item) for key, item in value.items()}

    def holds(self, condition: str | None) -> bool:
        """Whether a named condition of the template is true. None, for no condition, counts as true."""
        if condition is None:
            return True
        if condition not in self._template.conditions:
            raise UnresolvedError(f"Condition {condition}")
        return bool(self.resolve(self._template.conditions[condition]))

    def physical_id(self, logical_id: str) -> str | None:
        """Return a deployed resource's physical id."""
        return self._stack.physical.get(logical_id)

    def reference(self, logical_id: str) -> str:
        """Return what `Ref` yields for a resource of API Gateway: its physical id, or its logical id without one.

        Emulators do not deploy all of them; the gateway serves those itself.
        """
        return self._stack.physical.get(logical_id, logical_id)

    def _ref(self, name: str) -> Any:
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._stack.physical:
            return self._stack.physical[name]
        if name in self._template.resources and self._template.resources[name].type.startswith(_GATEWAY):
            return self.reference(name)
        if name in self._stack.parameters:
            return self._parameter(name, self._stack.parameters[name])
        if name in self._template.parameters and "Default" in self._template.parameters[name]:
            return self._parameter(name, self._template.parameters[name]["Default"])
        logical_id, _, attribute = name.partition(".")
        if attribute:  # SAM's referenceable properties: !Ref MyFunction.Alias, !Ref MyApi.Stage
            return self._generated(logical_id, attribute)
        raise UnresolvedError(f"Ref {name}")

    def _parameter(self, name: str, value: Any) -> Any:
        kind = str(self._template.parameters.get(name, {}).get("Type", "String"))
        if kind == "CommaDelimitedList" or kind.startswith("List<"):
            return [item.strip() for item in str(value).split(",")]
        return str(value)

    def _generated(self, logical_id: str, attribute: str) -> str:
        """The physical id of a resource that SAM generated from another, such as a function's alias."""
        for candidate, physical in self._stack.physical.items():
            kind = self._stack.types.get(candidate, "").rsplit("::", 1)[-1]
            # MyFunctionAliaslive, MyFunctionVersion0a1b2c3d4e, MyApiprodStage
            named = candidate.startswith(logical_id + attribute) or (
                candidate.startswith(logical_id) and candidate.endswith(attribute)
            )
            if kind == attribute and named:
                return physical
        raise UnresolvedError(f"Ref {logical_id}.{attribute}")

    def _get_att(self, logical_id: str, attribute: str) -> str:
        physical = self._stack.physical.get(logical_id)
        kind = self._stack.types.get(logical_id, "")
        if physical is not None:
            if attribute == "Arn" and physical.startswith("arn:"):
                return physical
            if attribute == "Arn" and kind == "AWS::Lambda::Function":
                stack = self._stack
                return f"arn:{stack.partition}:lambda:{stack.region}:{stack.account}:function:{physical}"
            if kind == "AWS::ApiGatewayV2::Api" and attribute == "ApiId":
                return physical
            if kind.startswith("AWS::ApiGatewayV2::") and attribute == f"{kind.rsplit('::', 1)[-1]}Id":
                return physical
            if (value := self._of_physical_id(kind, physical, attribute)) is not None:
                return value
        raise UnresolvedError(f"Fn::GetAtt {logical_id}.{attribute}")

    def _of_physical_id(self, kind: str, physical: str, attribute: str) -> str | None:
        """Return an attribute that follows from a physical id, as CloudFormation's reference says of each type."""
        stack, name = self._stack, re.split(r"[:/]", physical)[-1]
        here = f"{stack.region}:{stack.account}"
        known = {
            ("AWS::SQS::Queue", "QueueName"): name,
            ("AWS::SQS::Queue", "QueueUrl"): physical,
            ("AWS::SQS::Queue", "Arn"): f"arn:{stack.partition}:sqs:{here}:{name}",
            ("AWS::SNS::Topic", "TopicArn"): physical,
            ("AWS::SNS::Topic", "TopicName"): name,
            ("AWS::DynamoDB::Table", "Arn"): f"arn:{stack.partition}:dynamodb:{here}:table/{physical}",
            ("AWS::StepFunctions::StateMachine", "Name"): name,
            ("AWS::Kinesis::Stream", "Arn"): f"arn:{stack.partition}:kinesis:{here}:stream/{physical}",
            ("AWS::Events::EventBus", "Arn"): f"arn:{stack.partition}:events:{here}:event-bus/{physical}",
            ("AWS::Events::EventBus", "Name"): physical,
            ("AWS::S3::Bucket", "Arn"): f"arn:{stack.partition}:s3:::{physical}",
            ("AWS::IAM::Role", "Arn"): f"arn:{stack.partition}:iam::{stack.account}:role/{physical}",
        }
        return known.get((kind, attribute))

    def _function(self, name: str, argument: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - one branch a function
        match name:
            case "Fn::GetAtt":
                logical_id, attribute = argument if isinstance(argument, list) else str(argument).split(".", 1)
                return self._get_att(logical_id, self.resolve(attribute))
            case "Fn::Sub":
                return self._sub(argument)
            case "Fn::Join":
                separator, items = argument
                return str(separator).join(str(item) for item in self.resolve(items))
            case "Fn::Select":
                index, items = argument
                return self.resolve(items)[int(self.resolve(index))]
            case "Fn::Split":
                separator, text = argument
                return str(self.resolve(text)).split(str(separator))
            case "Fn::If":
                condition, then, otherwise = argument
                return self.resolve(then if self.holds(condition) else otherwise)
            case "Fn::Equals":
                left, right = argument
                return str(self.resolve(left)) == str(self.resolve(right))
            case "Fn::Not":
                return not self.resolve(argument[0])
            case "Fn::And":
                return all(self.resolve(item) for item in argument)
            case "Fn::Or":
                return any(self.resolve(item) for item in argument)
            case "Fn::FindInMap":
                table, *keys = self.resolve(argument)
                found: Any = self._template.mappings.get(table)
                for key in keys[:2]:
                    if not isinstance(found, Mapping) or key not in found:
                        raise UnresolvedError(f"Fn::FindInMap {table} {' '.join(map(str, keys))}")
                    found = found[key]
                return found
            case "Fn::ImportValue":
                exported = str(self.resolve(argument))
                if exported in self._stack.exports:
                    return self._stack.exports[exported]
                raise UnresolvedError(f"Fn::ImportValue {exported}")
        raise UnresolvedError(name)

    def _sub(self, argument: Any) -> str:
        text, variables = argument if isinstance(argument, list) else (argument, {})

        def value_of(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{name}}}"
            if name in variables:
                return str(self.resolve(variables[name]))
            logical_id, dot, attribute = name.partition(".")
            if dot and attribute not in ("Alias", "Version", "Stage"):
                return str(self._get_att(logical_id, attribute))
            return str(self._ref(name))

        return _VARIABLE.sub(value_of, text)
