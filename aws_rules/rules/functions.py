"""Functions: the requirements of SnapStart and of structured logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aws_rules.rules.mappings import function_of
from aws_rules.rules.registry import Broken, Case, rule
from aws_rules.rules.versions import live_versions

_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_SNAPPED: Final = (
    "python3.12",
    "python3.13",
    "python3.14",
    "java11",
    "java17",
    "java21",
    "java25",
    "dotnet8",
    "dotnet10",
)


@rule("snapstart-can-start", _LAMBDA + "snapstart.html")
def snapstart_can_start(case: Case) -> Iterator[Broken]:
    """A function with SnapStart has a runtime that knows it, an alias, 512 MB of /tmp at most and no other disk."""
    live = dict(live_versions(case.stack))
    for function in case.stack.of_type("AWS::Lambda::Function"):
        properties = function.properties
        if properties.get("SnapStart", {}).get("ApplyOn", "None") == "None":
            continue
        if properties.get("Runtime") not in _SNAPPED:
            yield Broken(function.logical_id, "Runtime", f"{properties.get('Runtime')} has no SnapStart")
        if properties.get("FileSystemConfigs") or properties.get("PackageType", "Zip") != "Zip":
            yield Broken(function.logical_id, "SnapStart", "has no file systems and no images")
        if int(properties.get("EphemeralStorage", {}).get("Size", 512)) > 512:
            yield Broken(function.logical_id, "EphemeralStorage", "is over 512 MB")
        if function.logical_id not in live:
            yield Broken(function.logical_id, "SnapStart", "applies to published versions, and no alias leads to one")


@rule("levels-are-for-json-logs", _LAMBDA + "monitoring-cloudwatchlogs-log-level.html")
def levels_are_for_json_logs(case: Case) -> Iterator[Broken]:
    """Log levels are set only where the log's format is JSON."""
    for function in case.stack.of_type("AWS::Lambda::Function"):
        logging = function.properties.get("LoggingConfig", {})
        if {"ApplicationLogLevel", "SystemLogLevel"} & logging.keys() and logging.get("LogFormat") != "JSON":
            yield Broken(function.logical_id, "LoggingConfig", "sets levels of a text log")


@rule("a-layer-fits-its-functions", "https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html")
def a_layer_fits_its_functions(case: Case) -> Iterator[Broken]:
    """A function has at most five layers, each made for its runtime and its architecture."""
    for function in case.stack.of_type("AWS::Lambda::Function"):
        layers = function.properties.get("Layers", [])
        if len(layers) > 5:
            yield Broken(function.logical_id, "Layers", f"are {len(layers)}")
        for layer in (case.stack.referred(each, "AWS::Lambda::LayerVersion") for each in layers):
            if layer is None:
                continue
            if function.properties["Runtime"] not in layer.properties.get("CompatibleRuntimes", []):
                yield Broken(
                    function.logical_id, "Runtime", f"{layer.logical_id} is not for {function.properties['Runtime']}"
                )
            if not {*function.properties.get("Architectures", ["x86_64"])} <= {
                *layer.properties.get("CompatibleArchitectures", [])
            }:
                yield Broken(function.logical_id, "Architectures", f"{layer.logical_id} is for others")


@rule("a-version-stays-to-go-back-to", _LAMBDA + "configuration-versions.html")
def a_version_stays_to_go_back_to(case: Case) -> Iterator[Broken]:
    """A version outlives the update that replaces it, so that `realtime rollback` can lead the alias back to it."""
    for version in case.stack.of_type("AWS::Lambda::Version"):
        if version.attributes.get("DeletionPolicy") != "Retain":
            yield Broken(version.logical_id, "DeletionPolicy", "deletes what a deployment could be taken back to")


@rule("concurrency-is-not-below-its-mapping", _LAMBDA + "services-sqs-scaling.html")
def concurrency_is_not_below_its_mapping(case: Case) -> Iterator[Broken]:
    """A function's reserved concurrency is not below what its queue's mapping may use, which would be throttled."""
    for mapping in case.stack.of_type("AWS::Lambda::EventSourceMapping"):
        function = function_of(case.stack, mapping)
        used = mapping.properties.get("ScalingConfig", {}).get("MaximumConcurrency")
        kept = function.properties.get("ReservedConcurrentExecutions") if function else None
        if function and used is not None and kept is not None and int(kept) < int(used):
            yield Broken(function.logical_id, "ReservedConcurrentExecutions", f"is {kept}, and its mapping uses {used}")
