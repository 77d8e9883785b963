"""Functions in processes of our own do what they do on Lambda."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samsocket.errors import FunctionFailedError, FunctionUnavailableError
from samsocket.functions.commands import Host
from samsocket.functions.pool import Pool
from samsocket.functions.spec import FunctionSpec, family_of
from samsocket.tls import Authority
from tests.samsocket.tool import until

pytestmark = [pytest.mark.timeout(240)]

PYTHON = """
import json, logging, os, sys, time
calls = 0
logging.getLogger().setLevel("INFO")
def handler(event, context):
    global calls
    calls += 1
    match event.get("do"):
        case "raise": raise ValueError("Unauthorized")
        case "exit": os._exit(3)
        case "sleep": time.sleep(30)
        case "log": logging.info("logged"); print("printed")
        case "unserializable": return object()
        case "environment": return dict(os.environ)
        case "context": return [context.function_name, context.invoked_function_arn]
        case "time left": return context.get_remaining_time_in_millis()
    return {"calls": calls, "pid": os.getpid()}
"""

NODE = {
    "esm.mjs": """
        let calls = 0;
        export const handler = async (event) => {
          if (event.do) throw new Error("Unauthorized");
          return { calls: ++calls };
        };
    """,
    "callback.js": """
        exports.handler = (event, context, callback) => {
          setTimeout(() => callback(event.do && new Error("Unauthorized"), { calls: 1 }), 1);
        };
    """,
    "default.cjs": "module.exports = { handler: async () => ({ calls: 1 }) };",
}


class Functions:
    """A pool, and what its functions wrote."""

    def __init__(self, pool: Pool, folder: Path, lines: list[str]) -> None:
        self.pool, self.folder, self.lines = pool, folder, lines
        self.spec = FunctionSpec(
            logical_id="F",
            name="f",
            arn="arn:f",
            runtime="python3.11",
            handler="app.handler",
            code=(folder,),
            timeout=60,
        )

    def offer(self, **changes: Any) -> None:
        """Give the pool the function."""
        self.spec = replace(self.spec, **changes)
        self.pool.offer([self.spec])

    async def ask(self, **event: Any) -> Any:
        """Invoke it."""
        return await self.pool.invoke("F", event)


@pytest.fixture
async def functions(tmp_path: Path) -> AsyncIterator[Functions]:
    """A pool with one Python function."""
    (tmp_path / "app.py").write_text(PYTHON)
    authority = Authority(tmp_path / "authority")
    host = Host(
        port=9,
        region="us-east-1",
        aws={"AWS_ACCESS_KEY_ID": "key"},
        authority=authority.bundle,
        own_authority=authority.certificate,
        pythons={"python3.11": Path(sys.executable)},
    )
    lines: list[str] = []
    async with Pool(host, lambda name, line: lines.append(f"{name} {line}")) as pool:
        found = Functions(pool, tmp_path, lines)
        found.offer()
        yield found


async def test_a_process_stays_warm_between_events(functions: Functions) -> None:
    first, second = await functions.ask(), await functions.ask()
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["pid"] == second["pid"]


async def test_events_at_the_same_time_get_processes_of_their_own(functions: Functions) -> None:
    answers = await asyncio.gather(*(functions.ask() for _ in range(2)))
    assert len({answer["pid"] for answer in answers}) == 2


async def test_an_error_is_reported_as_lambda_reports_it_and_its_trace_is_logged(functions: Functions) -> None:
    with pytest.raises(FunctionFailedError, match=r'"errorMessage": "Unauthorized", "errorType": "ValueError"'):
        await functions.ask(do="raise")
    assert (await functions.ask())["calls"] == 2, "the process goes on, as on Lambda"
    assert any("ValueError: Unauthorized" in line for line in functions.lines)


async def test_what_it_prints_and_logs_is_shown_with_its_name(functions: Functions) -> None:
    await functions.ask(do="log")
    await functions.ask()
    assert {"F [INFO] logged", "F printed"} <= set(functions.lines)


async def test_a_process_that_ends_is_an_error_and_the_next_event_gets_another(functions: Functions) -> None:
    with pytest.raises(FunctionFailedError, match="Runtime exited with exit code 3"):
        await functions.ask(do="exit")
    assert (await functions.ask())["calls"] == 1


async def test_after_its_timeout_a_process_is_ended(functions: Functions) -> None:
    functions.offer(timeout=0.5)
    with pytest.raises(FunctionFailedError, match=r"Task timed out after 0\.50 seconds"):
        await functions.ask(do="sleep")


async def test_a_result_that_is_no_json_is_an_error(functions: Functions) -> None:
    with pytest.raises(FunctionFailedError, match="not JSON serializable"):
        await functions.ask(do="unserializable")


async def test_a_module_that_cannot_be_loaded_is_an_error_until_it_is_mended(functions: Functions) -> None:
    (functions.folder / "app.py").write_text("import nothing_of_that_name")
    with pytest.raises(FunctionFailedError, match="nothing_of_that_name"):
        await functions.ask()
    (functions.folder / "app.py").write_text(PYTHON)
    assert (await functions.ask())["calls"] == 1


async def test_changed_code_counts_from_the_next_event_on(functions: Functions) -> None:
    await functions.ask()
    (functions.folder / "app.py").write_text("def handler(event, context): return 'new'")
    assert functions.pool.renew("F"), "it had a process that waited"
    assert await functions.ask() == "new"


async def test_an_event_gets_the_process_that_is_started_ahead(functions: Functions) -> None:
    (functions.folder / "app.py").write_text("print('loaded')\ndef handler(event, context): return 'here'")
    functions.pool.warm("F")
    assert await functions.ask() == "here"
    assert functions.lines.count("F loaded") == 1, "no second process was started"


async def test_a_process_that_was_started_ahead_of_another_change_gets_no_event(functions: Functions) -> None:
    gate = functions.folder / "gate"
    (functions.folder / "app.py").write_text(f"""
import pathlib, time
print("loading", flush=True)
while not pathlib.Path({str(gate)!r}).exists():
    time.sleep(0.01)
def handler(event, context): return "the change before"
""")
    functions.pool.warm("F")
    await until(lambda: "F loading" in functions.lines, lambda: str(functions.lines))
    (functions.folder / "app.py").write_text("def handler(event, context): return 'the last change'")
    assert functions.pool.renew("F"), "a process was on its way"
    gate.touch()
    assert await functions.ask() == "the last change"


async def test_the_environment_is_lambda_s_and_nobody_else_s(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    functions.offer(
        environment={"TABLE": "t", "AWS_REGION": "cannot be set"} | {"NODE_OPTIONS": "--enable-source-maps"}
    )
    shown = await functions.ask(do="environment")
    assert shown["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert shown["TABLE"] == "t"
    assert shown["AWS_ACCESS_KEY_ID"] == "key"
    assert "AWS_PROFILE" not in shown
    assert await functions.ask(do="context") == ["f", "arn:f"]
    assert 0 < await functions.ask(do="time left") <= 60_000


@pytest.mark.parametrize("file", NODE)
async def test_handlers_of_node_are_found_in_each_kind_of_module(functions: Functions, file: str) -> None:
    (functions.folder / file).write_text(NODE[file])
    functions.offer(runtime="nodejs20.x", handler=f"{file.partition('.')[0]}.handler")
    assert await functions.ask() == {"calls": 1}
    if file != "default.cjs":
        with pytest.raises(FunctionFailedError, match=r'"errorMessage": "Unauthorized"'):
            await functions.ask(do="raise")


async def test_a_handler_of_node_that_neither_returns_nor_calls_back_answers_null(functions: Functions) -> None:
    code = "exports.handler = (event, context, callback) => { setTimeout(() => console.log(event.do), 10); };"
    (functions.folder / "silent.js").write_text(code)
    functions.offer(runtime="nodejs20.x", handler="silent.handler")
    for said in ("one", "two"):
        assert await functions.ask(do=said) is None
        assert said in functions.lines[-1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("f", "F"),
        ("arn:aws:lambda:us-east-1:0:function:f", "F"),
        ("arn:aws:lambda:us-east-1:0:function:f:live", "F"),
        ("other", None),
    ],
)
async def test_a_function_is_found_by_name_and_by_arn(functions: Functions, name: str, found: str | None) -> None:
    assert functions.pool.find(name) == found


async def test_a_runtime_that_cannot_be_run_says_so(functions: Functions) -> None:
    functions.offer(runtime="java21")
    with pytest.raises(FunctionUnavailableError, match="the runtime java21 cannot be run here"):
        await functions.ask()


@pytest.mark.parametrize(
    ("runtime", "family"),
    [("python3.14", "python"), ("nodejs24.x", "node"), ("provided.al2023", "custom"), ("java21", None)],
)
def test_runtimes_belong_to_families(runtime: str, family: str | None) -> None:
    assert family_of(runtime) == family
