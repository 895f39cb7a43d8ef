"""docs/serving.md: its examples run, and its tables name what there is."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from litellm_claude_code import models
from litellm_claude_code.proxy.allowlist import OPEN, find_route
from litellm_claude_code.proxy.refused import Refused
from litellm_claude_code.testing import RecordedRequest, StandIn
from litellm_claude_code_cli.serve import serve

from .support.examples import DOCS, blocks
from .support.scripts import Forker
from .support.served import Served

PAGE = (DOCS / "serving.md").read_text()


def respond(request: RecordedRequest) -> Any:
    said = "The capital of France is Paris."
    is_dspy = "[[ ## answer ## ]]" in str(request.body)
    return f"[[ ## answer ## ]]\n{said}\n\n[[ ## completed ## ]]" if is_dspy else said


def test_every_example_runs(server: Served, stand_in: StandIn, redis_port: int, forks: Forker, tmp_path: Path) -> None:
    pytest.importorskip("dspy")
    stand_in.respond = respond
    examples = blocks(DOCS / "serving.md", "python")
    assert len(examples) == 5
    program = "\n".join(examples)
    for address in ("http://127.0.0.1:4000", "http://node-1:4000", "http://node-2:4000"):
        assert address in program
        program = program.replace(address, server.url)
    program = program.replace('"redis"', '"127.0.0.1"').replace("6379", str(redis_port))
    usage_of_dspy = 'print("tokens:", dspy.settings.lm.history[-1]["usage"]["total_tokens"])'
    script = forks.start(f"{program}\n{usage_of_dspy}", home=tmp_path, LITELLM_MASTER_KEY=server.key)
    out, errors = script.wait()
    assert script.program.wait() == 0, errors[-2000:]
    assert out.count("The capital of France is Paris.") == program.count("print(") == 5
    assert re.search(r"^tokens: [1-9]", out, re.MULTILINE)
    assert [request.body["model"] for request in stand_in.requests] == [models.resolve("sonnet")] * 5


def test_the_tables_name_every_endpoint_and_option() -> None:
    endpoints = PAGE.split("| endpoint |")[1].split("\n\n")[0]
    options = PAGE.split("| option |")[1].split("\n\n")[0]
    with pytest.raises(Refused) as refused:
        find_route("GET", "/none", "")
    served = re.findall(r"/v1/[\w/]+", refused.value.message)
    assert len(served) >= 5
    for path in (*served, *OPEN):
        assert path in endpoints
    for name, parameter in inspect.signature(serve, eval_str=True).parameters.items():
        assert f"`--{name.replace('_', '-')}`" in options
        if isinstance(parameter.default, (int, str)) and not isinstance(parameter.default, bool):
            assert str(parameter.default) in options


def test_the_configuration_on_the_page_is_valid() -> None:
    shown = yaml.safe_load(blocks(DOCS / "serving.md", "yaml")[0])
    assert shown["model_list"][0]["litellm_params"]["model"] == "claude_code/sonnet"
    handler = shown["litellm_settings"]["custom_provider_map"][0]["custom_handler"]
    import litellm_claude_code

    assert handler == f"{litellm_claude_code.__name__}.provider"
