"""Mapping templates, written in the Velocity Template Language: what AWS documents of them, and what samples use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samsocket.errors import TemplateFailedError
from samsocket.mapping_templates import choose, render

MESSAGE = '{"action": "send", "text": "it\'s", "to": ["a", "b"], "nested": {"n": 7, "on": true}}'
CONTEXT = {
    "connectionId": "AAAAAAAAAAAAAAA=",
    "requestTimeEpoch": 1_000,
    "authorizer": {"principalId": "me"},
    "identity": {"sourceIp": "127.0.0.1"},
}


def rendered(template: str, body: str = MESSAGE, parameters: dict[str, dict[str, str]] | None = None) -> str:
    return render(template, body=body, context=CONTEXT, stage_variables={"table": "Rooms"}, parameters=parameters or {})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("$context.connectionId", "AAAAAAAAAAAAAAA="),
        ("${context.identity.sourceIp}", "127.0.0.1"),
        ("$context.authorizer.principalId/$context.authorizer.nothing", "me/"),
        ("$stageVariables.table", "Rooms"),
        ("$input.body", MESSAGE),
        ("$input.path('$.text')", "it's"),
        ("$input.path('$.nested.n')", "7"),
        ("$input.path('$.to[1]')", "b"),
        ("$input.path('$.nothing')", ""),
        ("$input.json('$.to')", '["a","b"]'),
        ("$input.json('$.text')", '"it\'s"'),
        ("$input.json('$.nothing')", '""'),
        ("$util.escapeJavaScript($input.path('$.text'))", "it\\'s"),
        ("$util.urlEncode('a b&c')", "a+b%26c"),
        ("$util.urlDecode('a+b%26c')", "a b&c"),
        ("$util.base64Encode('hello')", "aGVsbG8="),
        ("$util.base64Decode('aGVsbG8=')", "hello"),
        ("$util.parseJson($input.body).nested.on", "true"),
        ("#set($ttl = $context.requestTimeEpoch + 86400)$ttl", "87400"),
        ("#set($to = $input.path('$.to'))#foreach($one in $to)$one#if($foreach.hasNext), #end#end", "a, b"),
        ("#if($input.path('$.nested.on'))yes#else no#end", "yes"),
        ("$input.path('$.to').size()", "2"),
        ("$input.path('$.nested')", "{n=7, on=true}"),
        ("$input.path('$.to')", '["a","b"]'),
        ('$util.parseJson(\'{"a": {"b": [null, 1]}}\')', "{a={b=[null,1]}}"),
        ("$context.identity", "{sourceIp=127.0.0.1}"),
        ("#foreach($name in $input.path('$.nested').keySet())$name;#end", "n;on;"),
        ("#set($map = $input.path('$.nested'))#set($was = $map.put('n', 8))$was $map.toString()", "7 {n=8, on=true}"),
        ("#set($map = $input.path('$.nested'))$!map.putAll({'on': 1})$map $map.size()", "{n=7, on=1} 2"),
        ("$input.path('$.nested').containsKey('on') $input.path('$.nested').isEmpty()", "true false"),
        (
            "#set($list = $input.path('$.to'))#set($was = $list.set(0, 'c'))#set($x = $list.add('d'))$list",
            '["c","b","d"]',
        ),
        ("$input.path('$.to').get(1) $input.path('$.to').contains('b') $input.path('$.to').isEmpty()", "b true false"),
        ("#set($dq = '\"')${dq}$input.path('$.action')${dq}", '"send"'),
    ],
)
def test_a_variable_or_directive_is_written_out_as_on_aws(template: str, text: str) -> None:
    assert rendered(template) == text


def test_parameters_are_those_of_the_handshake() -> None:
    parameters = {"header": {"X-Key": "k"}, "querystring": {"room": "r"}}
    assert (
        rendered("$input.params('room')/$input.params('x-key')/$input.params('none')", parameters=parameters) == "r/k/"
    )
    assert rendered("$input.params().querystring.room", parameters=parameters) == "r"
    assert rendered("$input.params().get('querystring')", parameters=parameters) == "{room=r}"
    assert rendered("$input.params().get('header').get('X-Key')", parameters=parameters) == "k"


def test_a_message_that_is_no_json_has_a_body_but_no_paths() -> None:
    assert rendered("$input.body|$input.path('$.text')|", "hello") == "hello||"


@pytest.mark.parametrize("template", ["#foreach($a in)", "$input.path('[')", "$util.parseJson('{')"])
def test_a_template_that_is_wrong_is_an_error_of_the_integration(template: str) -> None:
    with pytest.raises(TemplateFailedError):
        rendered(template)


TEMPLATES = {"send": "of send", "$default": "of others", "application/json": "of none"}


@pytest.mark.parametrize(
    ("templates", "expression", "message", "chosen"),
    [
        (TEMPLATES, "${request.body.action}", MESSAGE, "of send"),
        (TEMPLATES, "$request.body.action", '{"action": "x"}', "of others"),
        (TEMPLATES, r"\$default", MESSAGE, "of others"),
        (TEMPLATES, "send", "", "of send"),
        (TEMPLATES, "$request.body.action", "no JSON, as in $connect", "of others"),
        (TEMPLATES, "$stageVariables.template", MESSAGE, "of send"),
        (TEMPLATES, None, MESSAGE, "of none"),
        ({"$default": "of others"}, None, MESSAGE, "of others"),
        ({"send": "of send"}, "$request.body.action", '{"action": "x"}', None),
        ({}, None, MESSAGE, None),
    ],
)
def test_a_selection_expression_chooses_the_template(
    templates: dict[str, str], expression: str | None, message: str, chosen: str | None
) -> None:
    scope: dict[str, Any] = {"stageVariables": {"template": "send"}}
    assert choose(templates, expression, message, scope) == chosen


def test_what_is_written_as_json_is_json() -> None:
    template = '{"id": "$context.connectionId", "all": $input.json(\'$\')}'
    assert json.loads(rendered(template)) == {"id": "AAAAAAAAAAAAAAA=", "all": json.loads(MESSAGE)}
