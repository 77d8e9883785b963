"""Ways to break template.yaml: at least one for each rule, and the faults that it had before it was checked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aws_rules.documents import Document

Edit = Callable[[Document], None]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Breaking:
    """One way to break the template, the rule that must report it, and the resource that the report must name."""

    what: str
    rule: str
    resource: str
    edits: tuple[Edit, ...]
    parameters: str = "default"

    def __str__(self) -> str:
        """The name of the test case."""
        return f"{self.rule}: {self.what}"

    def applied(self, document: Document) -> Document:
        """A broken copy of the template."""
        broken = copy.deepcopy(document)
        for edit in self.edits:
            edit(broken)
        return broken


def path_of(text: str) -> Path:
    """`Api.Properties.Name` is below Resources, `/Parameters.X` below the document.

    In a list of a policy's statements, `?sqs:SendMessage@LateQueue` is the one with this action on this resource.
    """
    path: list[str | int] = [] if text.startswith("/") else ["Resources"]
    return (*path, *(int(part) if part.isdigit() else part for part in text.removeprefix("/").split(".")))


def _parent(document: Any, path: Path) -> Any:
    for step in path[:-1]:
        document = document[_key(document, step)]
    return document


def _key(parent: Any, step: str | int) -> str | int:
    if not isinstance(step, str) or not step.startswith("?"):
        return step
    action, _, resource = step.removeprefix("?").partition("@")
    return next(
        number
        for number, each in enumerate(parent)
        if action in each.get("Action", ()) and resource in str(each["Resource"])
    )


def put(where: str, value: Any) -> Edit:
    """Give something another value."""
    path = path_of(where)

    def edit(document: Document) -> None:
        _parent(document, path)[path[-1]] = copy.deepcopy(value)

    return edit


def drop(where: str) -> Edit:
    """Leave something out."""
    path = path_of(where)

    def edit(document: Document) -> None:
        parent = _parent(document, path)
        del parent[_key(parent, path[-1])]

    return edit


def add(where: str, *values: Any) -> Edit:
    """Append to a list."""
    path = path_of(where)

    def edit(document: Document) -> None:
        _parent(document, path)[path[-1]].extend(copy.deepcopy(values))

    return edit


def move(where: str, to: str) -> Edit:
    """Take something from one place to another."""
    path, target = path_of(where), path_of(to)

    def edit(document: Document) -> None:
        _parent(document, target)[target[-1]] = _parent(document, path).pop(path[-1])

    return edit


def without_line(where: str, line: str) -> Edit:
    """Leave a line out of a text."""
    path = path_of(where)

    def edit(document: Document) -> None:
        parent = _parent(document, path)
        assert line in parent[path[-1]].splitlines()
        parent[path[-1]] = "\n".join(each for each in parent[path[-1]].splitlines() if each != line)

    return edit


SWEEP_ERRORS = "NewClientErrorsAlarm.Properties.Metrics.5.MetricStat.Metric"
EXECUTE_API = {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"}
CONTENT = "Configuration.Properties.Content.Fn::Sub.0"
ALIAS_OF_INGEST = {"Ref": "IngestFunction.Alias"}
STREAM = {"Fn::GetAtt": ["EventsTable", "StreamArn"]}
NARROW = "BroadcastFunction.Properties.Events.NarrowEvents.Properties"
ROLE_STATEMENTS = "{}Role.Properties.Policies.0.PolicyDocument.Statement"
BROADCAST_STATEMENTS = ROLE_STATEMENTS.format("Broadcast")
LONG_DESCRIPTION = {"Fn::Sub": "${TokenIssuer} ${TokenAudience} ${JwksUrl} ${TokenKeys}"}
RULE_TARGETS = "BackendEventsRule.Properties.Targets"
STATEMENT = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["DeadlinesQueue", "Arn"]}}
FOREIGN_RULE = {
    "Type": "AWS::Events::Rule",
    "Properties": {"ScheduleExpression": "rate(1 hour)", "Targets": [{"Id": "x", "Arn": ALIAS_OF_INGEST}]},
}


def stage(name: str) -> dict[str, Any]:
    """Another stage of the API."""
    return {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"ApiId": {"Ref": "Api"}, "StageName": name}}


# Earlier faults of the template: each must be found if it comes back. The codes are those of the review.
TAKEN_BACK = [
    Breaking(
        "B1: both kinds of events mapped to one function",
        "one-mapping-for-each-pair",
        "BroadcastFunctionWideEvents",
        (move("BroadcastWideFunction.Properties.Events.WideEvents", "BroadcastFunction.Properties.Events.WideEvents"),),
    ),
    Breaking(
        "B3: a bus that the configuration does not name",
        "a-change-publishes-a-version",
        "AnnounceFunction",
        (without_line(CONTENT, "Bus ${Bus}"),),
    ),
    Breaking(
        "B3: a table that the configuration does not name",
        "a-change-publishes-a-version",
        "ConnectFunction",
        (without_line(CONTENT, "ConnectionsTable ${ConnectionsTable}"),),
    ),
    Breaking(
        "B3: a parameter that the configuration does not name",
        "a-change-publishes-a-version",
        "ConnectFunction",
        (without_line(CONTENT, "MaxConnectionsPerUser ${MaxConnectionsPerUser}"),),
    ),
    Breaking(
        "B3: a version that does not say which configuration it has",
        "a-change-publishes-a-version",
        "IngestFunction",
        (drop("IngestFunction.Properties.VersionDescription"),),
    ),
    Breaking(
        "B3: another layer without other versions",
        "a-change-publishes-a-version",
        "DefaultFunction",
        (drop("RealtimeLayer.Properties.PublishLambdaVersion"),),
    ),
    Breaking(
        "B4: a bus with a fixed name",
        "names-are-the-stacks-own",
        "Bus",
        (put("/Parameters.BusName.Default", "realtime"),),
    ),
    Breaking(
        "B4: a secret that two stacks share",
        "rights-are-on-the-stacks-own",
        "ConnectRole",
        (put("/Parameters.TokenKeys.Default", "/realtime/token-keys"),),
    ),
    Breaking(
        "L1: a description that names values",
        "cfn-lint E3033",
        "*",
        (put("ConnectFunction.Properties.VersionDescription", LONG_DESCRIPTION),),
        "longest",
    ),
    Breaking(
        "L2: posts to a host that is closed",
        "a-closed-host-is-not-called",
        "BroadcastFunction",
        (put("BroadcastFunction.Properties.Environment.Variables.MANAGEMENT_ENDPOINT", EXECUTE_API),),
        "domain alone",
    ),
    Breaking(
        "L2: a mapping key that is not its stage's name",
        "a-closed-host-is-not-called",
        "FeedStage",
        (put("FeedMapping.Properties.ApiMappingKey", "live"),),
        "domain alone",
    ),
    Breaking(
        "L2: no demand for a domain where the API's own host is closed",
        "a-closed-host-is-not-called",
        "FeedStage",
        (put("/Parameters.DisableExecuteApiEndpoint.Default", "true"),),
    ),
    Breaking(
        "L3: a mapping key with a slash",
        "mapping-keys-have-no-slash",
        "CallsMapping",
        (put("CallsMapping.Properties.ApiMappingKey", "ws/calls"),),
        "domain",
    ),
    Breaking(
        "R1: an alarm that needs a datum in each of three minutes",
        "late-streams-are-watched",
        "LateWideEventsAlarm",
        (
            put("LateWideEventsAlarm.Properties.EvaluationPeriods", 3),
            drop("LateWideEventsAlarm.Properties.DatapointsToAlarm"),
        ),
    ),
    Breaking(
        "R4: integrations made at the same time",
        "one-change-of-an-api-at-a-time",
        "DisconnectIntegration",
        (drop("DisconnectIntegration.DependsOn"),),
    ),
    Breaking(
        "R4: stages made at the same time",
        "one-change-of-an-api-at-a-time",
        "CallsStage",
        (drop("CallsStage.DependsOn"), put("CallsStage.DependsOn", "FeedStage")),
    ),
    Breaking(
        "R4: a stage that does not wait for the routes",
        "stages-come-last",
        "FeedStage",
        (drop("FeedStage.DependsOn"), drop("FeedStage.Metadata")),
    ),
    Breaking(
        "R4: a stage that does not wait for the route response",
        "stages-come-last",
        "NotificationsStage",
        (drop("FeedStage.Metadata"),),
    ),
    Breaking(
        "R9: ten tries",
        "a-stream-is-never-held-up",
        "BroadcastFunctionNarrowEvents",
        (put(f"{NARROW}.MaximumRetryAttempts", 10),),
    ),
    Breaking(
        "R15: a version of a function that did not change",
        "a-version-has-a-change",
        "DisconnectFunction",
        (drop("/Globals.Function.Environment.Variables.CONFIGURATION_VERSION"),),
    ),
]

OTHERS = [
    Breaking(
        "samconfig.toml gives a value that the parameter does not allow",
        "parameters-are-accepted",
        "LogRetentionDays",
        (put("/Parameters.LogRetentionDays.AllowedValues", [1, 30, 365]),),
        "prod",
    ),
    Breaking(
        "a number out of bounds",
        "parameters-are-accepted",
        "LeaseSeconds",
        (put("/Parameters.LeaseSeconds.MinValue", 1000),),
    ),
    Breaking(
        "a pattern that refuses the default",
        "parameters-are-accepted",
        "BusName",
        (put("/Parameters.BusName.AllowedPattern", "^[a-z]+$"),),
    ),
    Breaking(
        "a Rule that refuses what is offered",
        "assertions-hold",
        "DomainNeedsCertificate",
        (put("/Rules.DomainNeedsCertificate.Assertions.0.Assert", {"Fn::Equals": [{"Ref": "CertificateArn"}, ""]}),),
        "domain",
    ),
    Breaking(
        "a function with a fixed name",
        "names-are-the-stacks-own",
        "ConnectFunction",
        (put("ConnectFunction.Properties.FunctionName", "connect"),),
    ),
    Breaking(
        "a layer with a fixed name",
        "names-are-the-stacks-own",
        "*",
        (put("RealtimeLayer.Properties.LayerName", "realtime"),),
    ),
    Breaking(
        "a role that is replaced under its name",
        "a-replacement-has-another-name",
        "ConnectRole",
        (
            put("ConnectRole.Properties.RoleName", {"Fn::Sub": "${AWS::StackName}-connect"}),
            put("ConnectRole.Properties.Path", {"Fn::Sub": "/${RejectionMode}/"}),
        ),
    ),
    Breaking(
        "a mapping that begins elsewhere by a parameter",
        "a-mapping-is-not-replaced",
        "BroadcastFunctionNarrowEvents",
        (put(f"{NARROW}.StartingPosition", {"Fn::If": ["SnapsAll", "LATEST", "TRIM_HORIZON"]}),),
    ),
    Breaking(
        "a permission on the function itself",
        "triggers-call-the-alias",
        "ConnectPermission",
        (put("ConnectPermission.Properties.FunctionName", {"Ref": "ConnectFunction"}),),
    ),
    Breaking(
        "a third reader",
        "two-readers-of-a-shard",
        "EventsTable",
        (
            put(
                "Third",
                {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {
                        "EventSourceArn": STREAM,
                        "FunctionName": ALIAS_OF_INGEST,
                        "StartingPosition": "LATEST",
                    },
                },
            ),
        ),
    ),
    Breaking(
        "a filter on images that the stream does not carry",
        "a-stream-is-there-to-read",
        "BroadcastFunctionNarrowEvents",
        (put("EventsTable.Properties.StreamSpecification.StreamViewType", "KEYS_ONLY"),),
    ),
    Breaking(
        "no queue for what is given up",
        "a-stream-is-never-held-up",
        "BroadcastFunctionNarrowEvents",
        (drop(f"{NARROW}.DestinationConfig"),),
    ),
    Breaking(
        "a mapping that takes no report of failures",
        "only-failures-come-again",
        "BroadcastFunctionNarrowEvents",
        (drop(f"{NARROW}.FunctionResponseTypes"),),
    ),
    Breaking(
        "one at a time, where Lambda takes two at least",
        "a-mapping-suits-its-source",
        "FarewellFunctionFarewells",
        (put("FarewellFunction.Properties.Events.Farewells.Properties.ScalingConfig.MaximumConcurrency", 1),),
    ),
    Breaking(
        "a large batch of a queue without a window",
        "a-mapping-suits-its-source",
        "DeadlinesFunctionDeadlines",
        (put("DeadlinesFunction.Properties.Events.Deadlines.Properties.BatchSize", 100),),
    ),
    Breaking(
        "six filters",
        "filters-are-few",
        "BroadcastFunctionNarrowEvents",
        (put(f"{NARROW}.FilterCriteria.Filters", [{"Pattern": f'{{"eventName": ["{n}"]}}'} for n in range(6)]),),
    ),
    Breaking(
        "hidden for less than six times the timeout",
        "hidden-while-worked-on",
        "DeadlinesQueue",
        (put("DeadlinesFunction.Properties.Timeout", 31),),
    ),
    Breaking(
        "three tries",
        "tried-five-times",
        "DeadlinesQueue",
        (put("DeadlinesQueue.Properties.RedrivePolicy.maxReceiveCount", 3),),
    ),
    Breaking(
        "failures kept as long as what is fresh",
        "kept-longer-when-dead",
        "FailedEventsQueue",
        (drop("FailedEventsQueue.Properties.MessageRetentionPeriod"),),
    ),
    Breaking(
        "tries that outlast the message",
        "tries-end-before-the-message",
        "BackendEventsQueue",
        (put("BackendEventsQueue.Properties.VisibilityTimeout", 3600),),
    ),
    Breaking(
        "a queue in the clear",
        "queues-are-encrypted",
        "FarewellsQueue",
        (drop("FarewellsQueue.Properties.SqsManagedSseEnabled"),),
    ),
    Breaking(
        "no policy of a queue", "a-rule-may-reach-its-queues", "BackendEventsRule", (drop("BackendEventsPolicy"),)
    ),
    Breaking(
        "a policy for another rule",
        "a-rule-may-reach-its-queues",
        "BackendEventsRule",
        (
            put(
                "UndeliveredEventsPolicy.Properties.PolicyDocument.Statement.0.Condition.ArnEquals.aws:SourceArn",
                "arn:aws:events:us-east-1:123456789012:rule/another",
            ),
        ),
    ),
    Breaking(
        "a schedule without a permission", "a-rule-may-call-its-functions", "Hourly", (put("Hourly", FOREIGN_RULE),)
    ),
    Breaking(
        "undelivered events are dropped",
        "undelivered-events-are-kept",
        "BackendEventsRule",
        (drop(f"{RULE_TARGETS}.0.DeadLetterConfig"),),
    ),
    Breaking(
        "six targets",
        "five-targets-a-rule",
        "BackendEventsRule",
        (add(RULE_TARGETS, *({"Id": f"t{n}", "Arn": {"Fn::GetAtt": ["DeadlinesQueue", "Arn"]}} for n in range(5))),),
    ),
    Breaking(
        "no right to read the stream",
        "lambda-may-read-the-source",
        "BroadcastFunction",
        (put(f"{BROADCAST_STATEMENTS}.?dynamodb:DescribeStream.Action", ["dynamodb:DescribeStream"]),),
    ),
    Breaking(
        "no right to leave failures",
        "lambda-may-leave-failures",
        "BroadcastFunction",
        (drop(f"{BROADCAST_STATEMENTS}.?sqs:SendMessage@StreamFailuresQueue"),),
    ),
    Breaking(
        "no right to log",
        "a-function-may-log",
        "BroadcastFunction",
        (drop(f"{BROADCAST_STATEMENTS}.?logs:PutLogEvents"),),
    ),
    Breaking("logs for ever", "a-function-may-log", "SweepLog", (drop("SweepLog.Properties.RetentionInDays"),)),
    Breaking(
        "a right to post on one stage alone",
        "posting-is-allowed-on-every-stage",
        "DefaultFunction",
        (
            put(
                f"{ROLE_STATEMENTS.format('Default')}.?execute-api:ManageConnections.Resource.Fn::Sub",
                "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/feed/POST/@connections/*",
            ),
        ),
    ),
    Breaking(
        "a right of another form",
        "posting-is-allowed-on-every-stage",
        "DefaultFunction",
        (
            put(
                f"{ROLE_STATEMENTS.format('Default')}.?execute-api:ManageConnections.Resource.Fn::Sub",
                "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/@connections/*",
            ),
        ),
    ),
    Breaking(
        "all actions of a service",
        "no-wildcard-action",
        "BroadcastRole",
        (put(f"{BROADCAST_STATEMENTS}.?dynamodb:UpdateItem@UsersTable.Action", "dynamodb:*"),),
    ),
    Breaking(
        "a permission for one stage alone",
        "a-route-may-call-its-function",
        "ConnectRoute",
        (
            put(
                "ConnectPermission.Properties.SourceArn",
                {"Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/feed/$connect"},
            ),
        ),
    ),
    Breaking(
        "a route that selects a response and has none",
        "a-two-way-route-has-a-response",
        "DefaultRoute",
        (drop("DefaultRouteResponse"), drop("FeedStage.Metadata")),
    ),
    Breaking(
        "a response that no route selects",
        "a-two-way-route-has-a-response",
        "DefaultRoute",
        (drop("DefaultRoute.Properties.RouteResponseSelectionExpression"),),
    ),
    Breaking(
        "a function that takes longer than API Gateway waits",
        "a-routes-function-ends-in-time",
        "ConnectFunction",
        (put("ConnectFunction.Properties.Timeout", 30),),
    ),
    Breaking(
        "a key mapped twice",
        "mapping-keys-have-no-slash",
        "PresenceMapping",
        (put("PresenceMapping.Properties.ApiMappingKey", "feed"),),
        "domain",
    ),
    Breaking(
        "execution logs",
        "tokens-are-in-no-log",
        "FeedStage",
        (put("FeedStage.Properties.DefaultRouteSettings.DataTraceEnabled", True),),
    ),
    Breaking(
        "two stages of one name",
        "stages-are-named-as-urls-are",
        "PresenceStage",
        (put("PresenceStage.Properties.StageName", "feed"),),
    ),
    Breaking(
        "a runtime without SnapStart",
        "snapstart-can-start",
        "ConnectFunction",
        (put("/Globals.Function.Runtime", "python3.11"),),
        "SnapStart",
    ),
    Breaking(
        "SnapStart without an alias",
        "snapstart-can-start",
        "SweepFunction",
        (
            drop("/Globals.Function.AutoPublishAlias"),
            drop("/Globals.Function.VersionDeletionPolicy"),
            *(drop(f"{name}Integration") for name in ("Connect", "Disconnect", "Default")),
        ),
        "SnapStart",
    ),
    Breaking(
        "levels of a text log",
        "levels-are-for-json-logs",
        "ConnectFunction",
        (drop("/Globals.Function.LoggingConfig.LogFormat"),),
    ),
    Breaking(
        "a layer for another architecture",
        "a-layer-fits-its-functions",
        "ConnectFunction",
        (put("RealtimeLayer.Properties.CompatibleArchitectures", ["x86_64"]),),
    ),
    Breaking(
        "no version to go back to",
        "a-version-stays-to-go-back-to",
        "*",
        (put("/Globals.Function.VersionDeletionPolicy", "Delete"),),
    ),
    Breaking(
        "fewer executions than its queue's mapping uses",
        "concurrency-is-not-below-its-mapping",
        "IngestFunction",
        (put("IngestFunction.Properties.ReservedConcurrentExecutions", 8),),
    ),
    Breaking(
        "a deployment that no alarm undoes",
        "a-deployment-is-undone-by-alarms",
        "*",
        (drop("/Globals.Function.DeploymentPreference.Alarms"),),
        "hardened",
    ),
    Breaking(
        "an alarm that sees no crash of a function",
        "a-deployment-is-undone-by-alarms",
        "SweepFunctionDeploymentGroup",
        (put(f"{SWEEP_ERRORS}.Dimensions.0.Value", {"Ref": "LateFunction"}),),
        "hardened",
    ),
    Breaking(
        "a queue without TLS",
        "queues-demand-tls",
        "LateQueue",
        (drop("TlsPolicy.Properties.Queues.5"),),
    ),
    Breaking(
        "publishers who may say anything",
        "publishers-speak-for-themselves",
        "PublishersPolicy",
        (drop("PublishersPolicy.Properties.Statement.Condition"),),
        "hardened",
    ),
    Breaking(
        "a query string in the access log",
        "access-logs-hold-no-token",
        "FeedStage",
        (put("/Mappings.AccessLogFormat.Each.Line", '{"query": "$context.path"}'),),
        "hardened",
    ),
    Breaking(
        "metrics of one alarm that nobody emits",
        "an-alarm-looks-at-a-metric-that-is-there",
        "NewClientErrorsAlarm",
        (put("NewClientErrorsAlarm.Properties.Metrics.6.MetricStat.Metric.MetricName", "Failed"),),
        "hardened",
    ),
    Breaking(
        "a metric that nobody emits",
        "an-alarm-looks-at-a-metric-that-is-there",
        "FailedEventsAlarm",
        (put("FailedEventsAlarm.Properties.MetricName", "NumberOfMessagesVisible"),),
    ),
    Breaking(
        "dimensions that the metric does not have",
        "an-alarm-looks-at-a-metric-that-is-there",
        "FailedEventsAlarm",
        (put("FailedEventsAlarm.Properties.Dimensions.0.Name", "Queue"),),
    ),
    Breaking(
        "the age of a stream that nobody reads",
        "an-alarm-looks-at-a-metric-that-is-there",
        "LateEventsAlarm",
        (put("LateEventsAlarm.Properties.Dimensions.0.Value", {"Ref": "ConnectFunction"}),),
    ),
    Breaking(
        "a queue's URL for its name",
        "an-alarm-looks-at-a-metric-that-is-there",
        "FailedEventsAlarm",
        (put("FailedEventsAlarm.Properties.Dimensions.0.Value", {"Ref": "FailedEventsQueue"}),),
    ),
    Breaking(
        "more than a day",
        "an-alarm-can-be-evaluated",
        "FailedEventsAlarm",
        (put("FailedEventsAlarm.Properties.EvaluationPeriods", 1441),),
    ),
    Breaking("failures that nobody watches", "failures-are-watched", "FailedEventsQueue", (drop("FailedEventsAlarm"),)),
    Breaking(
        "a stream that nobody watches", "late-streams-are-watched", "AnnounceFunction", (drop("LateUserChangesAlarm"),)
    ),
    Breaking(
        "a comment that grows with the stack's name",
        "texts-are-short-enough",
        "CloudFrontDistribution",
        (put("CloudFrontDistribution.Properties.DistributionConfig.Comment", {"Fn::Sub": "live: ${AWS::StackName}"}),),
        "longest",
    ),
    Breaking(
        "a parameter that may fill the environment",
        "environment-of-4-kb",
        "ConnectFunction",
        (put("/Parameters.TokenIssuer.MaxLength", 4000),),
        "longest",
    ),
    Breaking(
        "too much in one role",
        "policies-of-a-role",
        "SweepRole",
        (add(ROLE_STATEMENTS.format("Sweep"), *[STATEMENT] * 80),),
    ),
    Breaking(
        "too much in one queue's policy",
        "policy-of-a-queue",
        "UndeliveredEventsPolicy",
        (add("UndeliveredEventsPolicy.Properties.PolicyDocument.Statement", *[STATEMENT] * 20),),
    ),
    Breaking(
        "eleven stages", "parts-of-an-api", "Api", tuple(put(f"More{n}Stage", stage(f"more{n}")) for n in range(7))
    ),
    Breaking(
        "an attribute that is no key",
        "indexes-of-a-table",
        "UsersTable",
        (add("UsersTable.Properties.AttributeDefinitions", {"AttributeName": "left_at", "AttributeType": "S"}),),
    ),
    Breaking(
        "a key that is projected",
        "indexes-of-a-table",
        "UsersTable",
        (add("UsersTable.Properties.GlobalSecondaryIndexes.0.Projection.NonKeyAttributes", "user_id"),),
    ),
    Breaking(
        "11 KB at the edge",
        "code-at-the-edge-is-small",
        "CloudFrontFunction",
        (put("CloudFrontFunction.Properties.FunctionCode", "x" * 11_000),),
        "CloudFront",
    ),
    Breaking(
        "a resource that a condition leaves out",
        "what-is-referred-to-is-there",
        "Outputs.ApiId",
        (put("/Outputs.ApiId.Value", {"Fn::GetAtt": ["Domain", "RegionalDomainName"]}),),
    ),
    Breaking(
        "a property that there is not",
        "cfn-lint E3002",
        "Bus",
        (put("Bus.Properties.Colour", "blue"),),
    ),
]

BREAKINGS = [*TAKEN_BACK, *OTHERS]
