"""What AWS refuses of a template that the emulator takes: `samsocket up --strict`.

Each rule is a function that yields what it finds; its docstring says what AWS demands, and `rule` where that stands.
Values are those that CloudFormation would give to the services, as far as the template tells them. CloudFormation's own
schemas (types, patterns, required properties) are not judged here: `sam validate --lint` holds a template to them.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from samsocket.errors import UnresolvedError
from samsocket.resolver import Resolver
from samsocket.template import Stack, Template

if TYPE_CHECKING:
    from samsocket.project.expansion import Project
    from samsocket.template import Resource

_DOCS: Final = "https://docs.aws.amazon.com/"
_ACCOUNT: Final = "000000000000"
_API: Final = "AWS::ApiGatewayV2::"
_MAPPING: Final = "AWS::Lambda::EventSourceMapping"
_QUEUE: Final = "AWS::SQS::Queue"
_FUNCTION: Final = "AWS::Lambda::Function"
_NAME: Final = re.compile(r"\$\{([^!}.]+)(?:\.[^}]*)?\}")


@dataclass(frozen=True)
class Finding:
    """One thing that AWS refuses."""

    logical_id: str
    problem: str
    source: str

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"{self.logical_id}: {self.problem} ({self.source})"


class View:
    """A template's resources that are deployed, with the values of their properties."""

    def __init__(self, project: Project, parameters: Mapping[str, str], region: str, stack: str) -> None:
        """Take a project, and what it is deployed with."""
        self.document = project.expanded
        self.has_nested_stacks = len(project.templates) > 1
        self.template = Template(project.expanded)
        resources = self.template.resources
        self._resolver = Resolver(
            self.template,
            Stack(
                name=stack,
                region=region,
                account=_ACCOUNT,
                parameters=parameters,
                physical={logical_id: logical_id for logical_id in resources},
                types={logical_id: resource.type for logical_id, resource in resources.items()},
            ),
        )
        self.resources = [resource for resource in resources.values() if self._is_deployed(resource)]

    def _is_deployed(self, resource: Resource) -> bool:
        try:
            return self._resolver.holds(resource.condition)
        except UnresolvedError:
            return True

    def of_type(self, kind: str) -> list[Resource]:
        """Return the resources of a type."""
        return [resource for resource in self.resources if resource.type == kind]

    def get(self, resource: Resource, name: str, default: Any = None) -> Any:
        """Return a property's value; where it cannot be worked out, what is written."""
        written = resource.properties.get(name, default)
        try:
            found = self._resolver.resolve(written)
        except UnresolvedError:
            return written
        return default if found is None else found

    def text(self, resource: Resource, name: str) -> str | None:
        """Return a property's value if it is a text."""
        found = self.get(resource, name)
        return found if isinstance(found, str) else None

    def number(self, resource: Resource, name: str, default: float) -> float | None:
        """Return a property's value if it is a number, as a number or as text."""
        try:
            return float(self.get(resource, name, default))
        except (TypeError, ValueError):
            return None

    def by_api(self, part: str) -> dict[str, list[Resource]]:
        """Return the resources of a kind by their API."""
        found: dict[str, list[Resource]] = defaultdict(list)
        for resource in self.of_type(_API + part):
            found[json.dumps(self.get(resource, "ApiId"), sort_keys=True, default=str).strip('"')].append(resource)
        return found


Rule = Callable[[View], Iterator[tuple[str, str]]]
_RULES: Final[list[tuple[Rule, str]]] = []


def rule(source: str) -> Callable[[Rule], Rule]:
    """Make a function a rule, with the place of what it demands."""

    def add(judge: Rule) -> Rule:
        _RULES.append((judge, source))
        return judge

    return add


def findings(project: Project, parameters: Mapping[str, str], region: str, stack: str) -> list[Finding]:
    """Return what AWS refuses."""
    view = View(project, parameters, region, stack)
    return [Finding(logical_id, problem, source) for judge, source in _RULES for logical_id, problem in judge(view)]


# ---- CloudFormation --------------------------------------------------------------------------------------------------


@rule(_DOCS + "AWSCloudFormation/latest/UserGuide/cloudformation-limits.html")
def _sizes_of_a_template(view: View) -> Iterator[tuple[str, str]]:
    """A template has at most 500 resources, and 200 parameters, mappings and outputs each, and 1 MB.

    Nested stacks have limits of their own, which cannot be told any more once they are a part of the one around them.
    """
    if view.has_nested_stacks:
        return
    for section, most in (("Resources", 500), ("Parameters", 200), ("Mappings", 200), ("Outputs", 200)):
        count = len(view.document.get(section) or {})
        if count > most:
            yield section, f"are {count}, of {most} at most"
    if len(json.dumps(view.document, default=str)) > 1_048_576:
        yield "template", "has more than 1 MB"


@rule(_DOCS + "AWSCloudFormation/latest/UserGuide/resources-section-structure.html")
def _logical_ids_are_alphanumeric(view: View) -> Iterator[tuple[str, str]]:
    """A logical id has letters and digits alone, at most 255."""
    for resource in view.resources:
        if not re.fullmatch(r"[A-Za-z0-9]{1,255}", resource.logical_id):
            yield resource.logical_id, "a logical id has up to 255 letters and digits, and nothing else"


@rule(_DOCS + "AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-ref.html")
def _what_is_referred_to_exists(view: View) -> Iterator[tuple[str, str]]:
    """What Ref, Fn::GetAtt, Fn::Sub and DependsOn name is in the template."""
    parts = {*view.template.resources, *view.template.parameters}
    for logical_id, body in view.document["Resources"].items():
        needed = body.get("DependsOn") or []
        named = {*_names(body), *([needed] if isinstance(needed, str) else needed)}
        for name in sorted(name for name in named - parts if not name.startswith("AWS::")):
            yield logical_id, f"{name} is not in the template"


def _names(value: Any) -> Iterator[str]:
    """Yield what the intrinsic functions in a value name."""
    if isinstance(value, list):
        for item in value:
            yield from _names(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "Ref" and isinstance(item, str):
                yield item
            elif key == "Fn::GetAtt" and item:
                yield item[0] if isinstance(item, list) else str(item).partition(".")[0]
            elif key == "Fn::Sub":
                text, variables = item if isinstance(item, list) else (item, {})
                yield from (found for found in _NAME.findall(str(text)) if found not in variables)
                yield from _names(variables)
            else:
                yield from _names(item)


# ---- names -----------------------------------------------------------------------------------------------------------

_PATTERNS: Final = {
    (_FUNCTION, "FunctionName"): r"[A-Za-z0-9_-]{1,64}",
    (_QUEUE, "QueueName"): r"[A-Za-z0-9_-]{1,75}\.fifo|[A-Za-z0-9_-]{1,80}",
    ("AWS::DynamoDB::Table", "TableName"): r"[A-Za-z0-9_.-]{3,255}",
    ("AWS::SNS::Topic", "TopicName"): r"[A-Za-z0-9_-]{1,251}\.fifo|[A-Za-z0-9_-]{1,256}",
    ("AWS::IAM::Role", "RoleName"): r"[\w+=,.@-]{1,64}",
    ("AWS::Events::Rule", "Name"): r"[A-Za-z0-9_.-]{1,64}",
    ("AWS::Events::EventBus", "Name"): r"[A-Za-z0-9_./-]{1,256}",
    ("AWS::S3::Bucket", "BucketName"): r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    (_API + "Stage", "StageName"): r"[A-Za-z0-9_-]{1,128}",
    (_API + "Api", "Name"): r"[\s\S]{1,128}",
}


@rule(_DOCS + "AWSCloudFormation/latest/TemplateReference/aws-properties-name.html")
def _names_are_allowed(view: View) -> Iterator[tuple[str, str]]:
    """A name has the characters and the length that its service allows, and each resource of a type its own."""
    taken: dict[tuple[str, str], str] = {}
    for (kind, property_name), pattern in _PATTERNS.items():
        for resource in view.of_type(kind):
            name = view.text(resource, property_name)
            if name is None:
                continue
            if not re.fullmatch(pattern, name, re.ASCII):
                yield resource.logical_id, f"{property_name} {name!r} does not match {pattern}"
            if kind.startswith(_API):
                continue
            first = taken.setdefault((kind, name), resource.logical_id)
            if first != resource.logical_id:
                yield resource.logical_id, f"{property_name} {name!r} is that of {first}, too"


@rule(_DOCS + "AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html")
def _fifo_queues_are_named_so(view: View) -> Iterator[tuple[str, str]]:
    """The name of a FIFO queue ends in `.fifo`, and no other's does."""
    for queue in view.of_type(_QUEUE):
        name = view.text(queue, "QueueName")
        is_fifo = str(view.get(queue, "FifoQueue", default=False)).lower() == "true"
        if name is not None and name.endswith(".fifo") != is_fifo:
            yield queue.logical_id, f"{name!r} {'lacks' if is_fifo else 'ends in'} .fifo"


# ---- the WebSocket API -----------------------------------------------------------------------------------------------

_PARTS: Final = {"Route": 300, "Integration": 300, "Stage": 10, "Authorizer": 10}


@rule(_DOCS + "apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
def _parts_of_an_api(view: View) -> Iterator[tuple[str, str]]:
    """An API has at most 300 routes, 300 integrations, 10 stages and 10 authorizers."""
    for part, most in _PARTS.items():
        for api, found in view.by_api(part).items():
            if len(found) > most:
                yield api, f"has {len(found)} resources {_API}{part}, of {most} at most"


@rule(_DOCS + "apigatewayv2/latest/api-reference/apis-apiid-routes.html")
def _keys_are_there_once(view: View) -> Iterator[tuple[str, str]]:
    """An API has one route for each key and one stage for each name; a second is a ConflictException."""
    for part, property_name in (("Route", "RouteKey"), ("Stage", "StageName")):
        for found in view.by_api(part).values():
            first: dict[str, str] = {}
            for resource in found:
                key = str(view.get(resource, property_name))
                other = first.setdefault(key, resource.logical_id)
                if other != resource.logical_id:
                    yield resource.logical_id, f"{property_name} {key} is that of {other}, too"


@rule(_DOCS + "apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
def _integrations_end_in_time(view: View) -> Iterator[tuple[str, str]]:
    """An integration's timeout is from 50 ms to 29 s."""
    for integration in view.of_type(_API + "Integration"):
        milliseconds = view.number(integration, "TimeoutInMillis", 29_000)
        if milliseconds is not None and not 50 <= milliseconds <= 29_000:
            yield integration.logical_id, f"TimeoutInMillis {milliseconds:g} is not from 50 to 29000"


@rule(_DOCS + "AWSCloudFormation/latest/TemplateReference/aws-resource-apigatewayv2-api.html")
def _a_websocket_api_selects_routes(view: View) -> Iterator[tuple[str, str]]:
    """A WebSocket API has a RouteSelectionExpression."""
    for api in view.of_type(_API + "Api"):
        if view.get(api, "ProtocolType") == "WEBSOCKET" and not view.get(api, "RouteSelectionExpression"):
            yield api.logical_id, "RouteSelectionExpression is missing, which a WebSocket API needs"


@rule("https://github.com/aws/serverless-application-model/issues/2512")
def _a_deployment_comes_after_a_route(view: View) -> Iterator[tuple[str, str]]:
    """A deployment depends on a route: it fails before all routes, for an API without routes has nothing to deploy."""
    bodies = view.document["Resources"]
    routes = {route.logical_id for found in view.by_api("Route").values() for route in found}

    def reaches(logical_id: str, seen: set[str]) -> bool:
        if logical_id in routes:
            return True
        seen.add(logical_id)
        body = bodies.get(logical_id) or {}
        needed = body.get("DependsOn") or []
        named = {*_names(body.get("Properties") or {}), *([needed] if isinstance(needed, str) else needed)}
        return any(reaches(name, seen) for name in named - seen if name in bodies)

    for deployment in view.of_type(_API + "Deployment"):
        if not reaches(deployment.logical_id, set()):
            yield (
                deployment.logical_id,
                "depends on no route: 'At least one route is required before deploying the Api'",
            )


# ---- functions -------------------------------------------------------------------------------------------------------

_RESERVED: Final = frozenset(
    {
        "_HANDLER",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
_NUMBERS: Final = (("Timeout", 3, 1, 900), ("MemorySize", 128, 128, 10_240))


@rule(_DOCS + "lambda/latest/dg/gettingstarted-limits.html")
def _functions_are_within_their_limits(view: View) -> Iterator[tuple[str, str]]:
    """A function has 1 to 900 s, 128 to 10,240 MB, 5 layers at most, and 4 MB of code in the template at most."""
    for function in view.of_type(_FUNCTION):
        for name, default, least, most in _NUMBERS:
            value = view.number(function, name, default)
            if value is not None and not least <= value <= most:
                yield function.logical_id, f"{name} {value:g} is not from {least} to {most}"
        layers = view.get(function, "Layers", [])
        if isinstance(layers, list) and len(layers) > 5:
            yield function.logical_id, f"has {len(layers)} layers, of 5 at most"
        code = view.get(function, "Code", {})
        if isinstance(code, Mapping) and len(str(code.get("ZipFile", ""))) > 4 * 1024 * 1024:
            yield function.logical_id, "has more than 4 MB of code in the template"


@rule(_DOCS + "lambda/latest/dg/configuration-envvars.html")
def _variables_are_allowed(view: View) -> Iterator[tuple[str, str]]:
    """A function's variables have 4 KB at most, names that begin with a letter, and none that Lambda sets itself."""
    for function in view.of_type(_FUNCTION):
        environment = view.get(function, "Environment", {})
        variables = environment.get("Variables") if isinstance(environment, Mapping) else None
        if not isinstance(variables, Mapping):
            continue
        for name in sorted(map(str, variables)):
            if name in _RESERVED:
                yield function.logical_id, f"the variable {name} is Lambda's own"
            elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", name):
                yield function.logical_id, f"the variable {name!r} is not a letter followed by letters, digits and _"
        size = len(json.dumps(variables, separators=(",", ":"), default=str).encode())
        if size > 4096:
            yield function.logical_id, f"its variables have {size} bytes, of 4096 at most"


# ---- what invokes functions ------------------------------------------------------------------------------------------


@rule("https://github.com/anomalyco/sst/issues/5975")
def _one_mapping_for_each_pair(view: View) -> Iterator[tuple[str, str]]:
    """There is one mapping for each pair of source and function, whatever it filters: a second is a 409."""
    first: dict[tuple[str, str], str] = {}
    for mapping in view.of_type(_MAPPING):
        pair = (_identity(view.get(mapping, "EventSourceArn")), _identity(view.get(mapping, "FunctionName")))
        other = first.setdefault(pair, mapping.logical_id)
        if other != mapping.logical_id:
            yield mapping.logical_id, f"{other} maps this source to this function already"


def _identity(value: Any) -> str:
    """Return what is the same for a name and the ARN of one thing."""
    if isinstance(value, str) and ":function:" in value:
        value = value.partition(":function:")[2]
    return json.dumps(value, sort_keys=True, default=str)


@rule(_DOCS + "lambda/latest/dg/services-sqs-configure.html")
def _a_message_is_hidden_while_its_function_runs(view: View) -> Iterator[tuple[str, str]]:
    """A queue hides its messages for as long as the function that reads them may run; Lambda refuses less."""
    functions = {_identity(function.logical_id): function for function in view.of_type(_FUNCTION)}
    for mapping, queue in _of_queues(view):
        function = functions.get(_identity(view.get(mapping, "FunctionName")))
        hidden = view.number(queue, "VisibilityTimeout", 30)
        runs = None if function is None else view.number(function, "Timeout", 3)
        if hidden is not None and runs is not None and hidden < runs:
            yield (
                mapping.logical_id,
                f"{queue.logical_id} hides messages for {hidden:g} s, but it may run for {runs:g} s",
            )


@rule(_DOCS + "lambda/latest/api/API_CreateEventSourceMapping.html")
def _a_mapping_suits_its_source(view: View) -> Iterator[tuple[str, str]]:
    """Over 10 messages need a batching window; a FIFO queue gives 10 at most and has none; a stream has a beginning."""
    for mapping, queue in _of_queues(view):
        batch = view.number(mapping, "BatchSize", 10) or 0
        window = view.number(mapping, "MaximumBatchingWindowInSeconds", 0) or 0
        if str(view.get(queue, "FifoQueue", default=False)).lower() == "true":
            if batch > 10 or window:
                yield mapping.logical_id, "a FIFO queue has batches of 10 at most, and no batching window"
        elif batch > 10 and window < 1:
            yield mapping.logical_id, f"BatchSize {batch:g} needs a MaximumBatchingWindowInSeconds"
    for mapping in view.of_type(_MAPPING):
        source = json.dumps(mapping.properties.get("EventSourceArn"), default=str)
        if "StreamArn" in source and not view.get(mapping, "StartingPosition"):
            yield mapping.logical_id, "StartingPosition is missing, which a stream needs"


def _of_queues(view: View) -> Iterator[tuple[Resource, Resource]]:
    queues = {f":{queue.logical_id}": queue for queue in view.of_type(_QUEUE)}
    for mapping in view.of_type(_MAPPING):
        source = str(view.get(mapping, "EventSourceArn"))
        queue = queues.get(source[source.rfind(":") :]) if ":sqs:" in source else None
        if queue is not None:
            yield mapping, queue


@rule(_DOCS + "eventbridge/latest/userguide/eb-quota.html")
def _rules_and_filters_are_few(view: View) -> Iterator[tuple[str, str]]:
    """A rule of EventBridge has at most 5 targets, and a mapping at most 5 filters."""
    for found in view.of_type("AWS::Events::Rule"):
        targets = view.get(found, "Targets", [])
        if isinstance(targets, list) and len(targets) > 5:
            yield found.logical_id, f"has {len(targets)} targets, of 5 at most"
        ids = Counter(str(target.get("Id")) for target in targets if isinstance(target, Mapping))
        yield from ((found.logical_id, f"has two targets with the Id {name}") for name, n in ids.items() if n > 1)
    for mapping in view.of_type(_MAPPING):
        criteria = view.get(mapping, "FilterCriteria", {})
        filters = criteria.get("Filters", []) if isinstance(criteria, Mapping) else []
        if len(filters) > 5:
            yield mapping.logical_id, f"has {len(filters)} filters, of 5 at most"
