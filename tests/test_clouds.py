"""Calls on Bedrock, Vertex and Foundry: the real CLI on their stand-ins."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import psutil
import pytest
from litellm.llms.custom_httpx.http_handler import HTTPHandler

import litellm_claude_code
from dspy_adapter import ClaudeCodeLM
from litellm_claude_code.auth import choose_login
from litellm_claude_code.cache import cache_folder
from litellm_claude_code.cloud_aliases import with_known
from litellm_claude_code.settings import Settings
from litellm_claude_code.testing import Answer, BedrockStandIn, Failure, StandIn, Text, ToolUse, answer
from litellm_claude_code.testing import bedrock_failure as bedrock
from litellm_claude_code.testing import foundry_failure as foundry
from litellm_claude_code.testing import vertex_failure as vertex
from litellm_claude_code_cli.checkup import _of_cloud, findings

from .support.anthropic_host import log_in
from .support.clouds import KINDS, PROFILE_ARN, AnyStandIn, each_cloud, litellm_options
from .support.examples import DOCS, run_page
from .support.processes import claude_processes
from .support.requests import ASK, TOOLS, user
from .support.scripts import Forker

pytestmark = pytest.mark.processes

# What CLI 2.1.327 makes of its aliases: on Bedrock in us-east-1.
ALIASES = {
    "bedrock": {
        "sonnet": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "opus": "us.anthropic.claude-opus-5-5",
        "haiku": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "default": "us.anthropic.claude-opus-5-5",
    },
    "vertex": {
        "sonnet": "claude-sonnet-4-5@20250929",
        "opus": "claude-opus-5-5",
        "haiku": "claude-haiku-4-5@20251001",
        "default": "claude-opus-5-5",
    },
    "foundry": {
        "sonnet": "claude-sonnet-4-5",
        "opus": "claude-opus-4-6",
        "haiku": "claude-haiku-4-5",
        "default": "claude-sonnet-4-5",
    },
}
CLOUD_SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "secret-of-amazon",
    "ANTHROPIC_FOUNDRY_API_KEY": "secret-of-microsoft",
    "AZURE_CLIENT_SECRET": "secret-of-entra",
}
OTHER_SECRETS = {
    "ANTHROPIC_API_KEY": "secret-of-anthropic",
    "ANTHROPIC_AUTH_TOKEN": "secret-of-a-gateway",
    "CLAUDE_CODE_OAUTH_TOKEN": "secret-of-claude",
    "GOOGLE_API_KEY": "secret-of-gemini",
    "AZURE_API_KEY": "secret-of-azure",
    "AZURE_OPENAI_API_KEY": "secret-of-azure-openai",
    "OPENAI_API_KEY": "secret-of-openai",
}


@pytest.fixture(scope="module")
def stand_ins(one_stand_in: StandIn) -> Iterator[dict[str, AnyStandIn]]:
    with each_cloud() as stand_ins:
        yield stand_ins
        litellm_claude_code.close()


@pytest.fixture(params=KINDS)
def cloud(request: Any, stand_ins: dict[str, AnyStandIn], monkeypatch: pytest.MonkeyPatch) -> AnyStandIn:
    """The stand-in of a cloud that the environment names."""
    stand_in = stand_ins[request.param]
    stand_in.reset()
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)
    return stand_in


bedrock_only = pytest.mark.parametrize("cloud", ["bedrock"], indirect=True)


def name_of(stand_in: AnyStandIn) -> str:
    return next(name for name, kind in KINDS.items() if isinstance(stand_in, kind))


def ask(model: str = "sonnet", **more: Any) -> Any:
    return litellm.completion(f"claude_code/{model}", **{"messages": ASK, "max_retries": 0, **more})


def asked(stand_in: StandIn) -> list[str]:
    return [record.body["model"] for record in stand_in.requests]


def test_one_call_is_one_request_from_the_first_process_on(cloud: AnyStandIn) -> None:
    litellm_claude_code.provider.warm_up("claude_code/sonnet", n=2)
    assert cloud.requests == []
    ask()
    ask("haiku", stream=False, messages=[{"role": "system", "content": "Be brief."}, *ASK])
    list(ask("opus", stream=True))
    bodies = [record.body for record in cloud.requests]
    assert [body["model"] for body in bodies] == [ALIASES[name_of(cloud)][name] for name in ("sonnet", "haiku", "opus")]
    assert bodies[1]["system"][-1]["text"] == "Be brief."
    assert {record.method for record in cloud.other_requests} <= {"GET"}  # inference profiles; tokens


@pytest.mark.parametrize("alias", ALIASES["bedrock"])
def test_an_alias_means_what_the_cli_makes_of_it_there(cloud: AnyStandIn, alias: str) -> None:
    assert ask(alias).choices[0].message.content
    assert asked(cloud) == [ALIASES[name_of(cloud)][alias]]


def test_a_stream_and_tools_work(cloud: AnyStandIn) -> None:
    reply = answer("Let me look.", ToolUse("weather", {"city": "Paris"}))
    cloud.script(reply, reply)
    chunks = list(ask(stream=True, tools=TOOLS))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Let me look."
    call = ask(tools=TOOLS).choices[0].message.tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})


@pytest.mark.parametrize("stop_reason", ["max_tokens", "refusal"])
def test_an_answer_that_is_cut_is_one_request(cloud: AnyStandIn, stop_reason: Any) -> None:
    cloud.script(Answer(content=[Text("Par")], stop_reason=stop_reason))
    ask()
    ask()
    assert len(cloud.requests) == 2


def test_parameters_are_mapped_for_the_claude_model_behind_the_id(cloud: AnyStandIn) -> None:
    ask("sonnet", reasoning_effort="low", max_tokens=4000)
    ask(ALIASES[name_of(cloud)]["sonnet"], reasoning_effort="low", max_tokens=4000)
    one, other = (record.body for record in cloud.requests)
    assert one["thinking"] == other["thinking"] == {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("alias", ["sonnet", "haiku"])
def test_a_call_costs_what_litellm_knows_of_that_cloud(cloud: AnyStandIn, alias: str, stream: bool) -> None:
    name = name_of(cloud)
    model = ALIASES[name][alias]
    for asked_for in (alias, model):
        response = ask(asked_for, stream=stream)
        if stream:
            response = litellm.stream_chunk_builder(list(response))
        cost = response._hidden_params["response_cost"]
        assert cost == pytest.approx(expected_cost(name, model, response.usage))


def expected_cost(name: str, model: str, usage: Any) -> float:
    key = {"bedrock": model, "vertex": f"vertex_ai/{model}", "foundry": f"azure_ai/{model}"}[name]
    prices = litellm.model_cost[key]
    regional = prices.get("regional_endpoint_uplift_multiplier") or 1
    tokens = ((usage.prompt_tokens, "input_cost_per_token"), (usage.completion_tokens, "output_cost_per_token"))
    return float(regional * sum(count * prices[price] for count, price in tokens))


def test_the_cost_of_several_answers_is_their_sum(cloud: AnyStandIn) -> None:
    one = ask("haiku")._hidden_params["response_cost"]
    assert ask("haiku", n=2)._hidden_params["response_cost"] == pytest.approx(2 * one)


@pytest.mark.parametrize("cloud", ["bedrock", "foundry"], indirect=True)
def test_the_cost_of_an_opaque_id_is_unknown_and_nothing_is_printed(
    cloud: AnyStandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    model = PROFILE_ARN if name_of(cloud) == "bedrock" else "my-deployment"
    response = ask(model)
    assert (response._hidden_params.get("response_cost"), asked(cloud)) == (None, [model])
    assert list(ask(model, stream=True))
    assert capfd.readouterr().out == ""
    without_price = "us.anthropic.claude-opus-9-9" if name_of(cloud) == "bedrock" else "claude-opus-9-9"
    assert ask(without_price)._hidden_params.get("response_cost") == 0.0


@bedrock_only
def test_a_variable_sets_the_model_id_of_a_family(cloud: AnyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_DEFAULT_OPUS_MODEL", PROFILE_ARN)
    ask(PROFILE_ARN, reasoning_effort="low")
    ask("opus", reasoning_effort="low")
    ask("best")
    ask("haiku")
    assert asked(cloud) == [PROFILE_ARN] * 3 + [ALIASES["bedrock"]["haiku"]]
    assert [record.body["thinking"]["type"] for record in cloud.requests[:2]] == ["adaptive"] * 2
    monkeypatch.setenv("ANTHROPIC_MODEL", "haiku")
    ask("default")
    assert asked(cloud)[-1] == ALIASES["bedrock"]["haiku"]


@bedrock_only
@pytest.mark.parametrize(
    ("variables", "prefix"),
    [
        ({"AWS_REGION": "eu-central-1"}, "eu."),
        ({"AWS_REGION": "ap-southeast-2"}, "apac."),
        ({"AWS_REGION": "eu-central-1", "ANTHROPIC_BEDROCK_REGION_PREFIX": "global"}, "global."),
    ],
)
def test_the_region_decides_the_prefix(
    cloud: AnyStandIn, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], prefix: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ask("opus")
    assert asked(cloud) == [f"{prefix}anthropic.claude-opus-5-5"]


def test_the_meaning_of_aliases_is_found_without_a_credential_and_remembered(cloud: AnyStandIn) -> None:
    litellm_claude_code.provider.claude_behind("sonnet", may_ask=True)
    assert cloud.requests == cloud.other_requests == []
    known = with_known(choose_login(api_key=None, api_base=None, settings=Settings(), model="sonnet"))
    assert known is not None
    assert dict(known.models).items() >= ALIASES[name_of(cloud)].items()
    saved = "".join(file.read_text() for file in cache_folder().glob("*.json"))
    assert str(cloud.api_key) not in saved


BEDROCK, VERTEX, FOUNDRY = (f"CLAUDE_CODE_USE_{name}" for name in ("BEDROCK", "VERTEX", "FOUNDRY"))


@bedrock_only
def test_a_gateway_in_the_call_takes_precedence_over_a_cloud_in_the_environment(
    cloud: AnyStandIn, stand_in: StandIn
) -> None:
    ask("claude-haiku-5-5", api_base=stand_in.base_url, api_key=stand_in.api_key)
    assert (asked(stand_in), cloud.requests) == (["claude-haiku-5-5"], [])


def test_a_switch_that_is_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BEDROCK, "0")
    assert choose_login(api_key=None, api_base=None, settings=Settings(), model="sonnet").payer == "subscription"


ENABLE = {"bedrock": "Model access", "vertex": "Model Garden", "foundry": "Deploy the model"}
LOG_IN = {"bedrock": "aws sso login", "vertex": "gcloud auth application-default login", "foundry": "az login"}
FAILURES: list[tuple[str, Failure, type[Exception], str]] = [
    ("bedrock", bedrock("ThrottlingException"), litellm.RateLimitError, "Too many requests"),
    ("bedrock", bedrock("AccessDeniedException"), litellm.PermissionDeniedError, ENABLE["bedrock"]),
    ("bedrock", bedrock("ExpiredTokenException"), litellm.PermissionDeniedError, LOG_IN["bedrock"]),
    ("bedrock", bedrock("UnrecognizedClientException"), litellm.AuthenticationError, LOG_IN["bedrock"]),
    ("bedrock", bedrock("ValidationException"), litellm.BadRequestError, ENABLE["bedrock"]),
    ("bedrock", bedrock("ResourceNotFoundException"), litellm.NotFoundError, ENABLE["bedrock"]),
    ("bedrock", bedrock("ModelNotReadyException"), litellm.RateLimitError, "not ready"),
    ("bedrock", bedrock("ModelTimeoutException"), litellm.Timeout, "too long"),
    ("bedrock", bedrock("ModelErrorException"), litellm.BadRequestError, "424"),
    ("bedrock", bedrock("InternalServerException"), litellm.ServiceUnavailableError, "unexpected error"),
    ("bedrock", bedrock("ServiceUnavailableException"), litellm.ServiceUnavailableError, "503"),
    ("vertex", vertex("INVALID_ARGUMENT"), litellm.BadRequestError, "400"),
    ("vertex", vertex("UNAUTHENTICATED"), litellm.AuthenticationError, LOG_IN["vertex"]),
    ("vertex", vertex("PERMISSION_DENIED"), litellm.BadRequestError, ENABLE["vertex"]),
    ("vertex", vertex("NOT_FOUND"), litellm.NotFoundError, ENABLE["vertex"]),
    ("vertex", vertex("RESOURCE_EXHAUSTED"), litellm.RateLimitError, "Quota exceeded"),
    ("vertex", vertex("INTERNAL"), litellm.InternalServerError, "500"),
    ("vertex", vertex("UNAVAILABLE"), litellm.ServiceUnavailableError, "503"),
    ("vertex", vertex("DEADLINE_EXCEEDED"), litellm.Timeout, "504"),
    ("foundry", foundry("401"), litellm.AuthenticationError, LOG_IN["foundry"]),
    ("foundry", foundry("DeploymentNotFound"), litellm.NotFoundError, ENABLE["foundry"]),
    ("foundry", foundry("RateLimitReached"), litellm.RateLimitError, "token rate limit"),
    ("foundry", foundry("InternalServerError"), litellm.InternalServerError, "500"),
    ("foundry", foundry("ServiceUnavailable"), litellm.ServiceUnavailableError, "503"),
    *((name, Failure(400, message="messages: wrong"), litellm.BadRequestError, "messages: wrong") for name in KINDS),
    *((name, Failure(400, message="prompt is too long: 9 > 8"), litellm.ContextWindowExceededError, "too long")
      for name in KINDS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cloud", "failure", "kind", "words"),
    FAILURES,
    indirect=["cloud"],
    ids=[f"{name}-{failure.status}-{failure.message.split()[0]}" for name, failure, _, _ in FAILURES],
)
def test_a_failure_is_litellms_class_for_it_with_a_sentence(
    cloud: AnyStandIn, failure: Failure, kind: type[Exception], words: str
) -> None:
    # The CLI sends a request again that is refused for its credentials, and one whose model is not found.
    cloud.script(failure, failure, failure)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - compared below: a subclass would be another class
        ask()
    cloud.reset()
    assert type(raised.value) is kind
    assert words in str(raised.value)
    if name_of(cloud) != "vertex" and "too long" not in failure.message:  # litellm's provider needs Google's SDK
        cloud.script(failure)
        with contextlib.closing(HTTPHandler()) as theirs, pytest.raises(kind):
            litellm.completion(
                messages=ASK, max_tokens=9, num_retries=0, max_retries=0, client=theirs, **litellm_options(cloud)
            )
        cloud.reset()


def test_without_a_credential_the_error_says_how_to_log_in(
    cloud: AnyStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = name_of(cloud)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_BEARER_TOKEN_BEDROCK", "GCE_METADATA_HOST", "ANTHROPIC_FOUNDRY_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("METADATA_SERVER_DETECTION", "none")
    with pytest.raises(litellm.AuthenticationError, match=LOG_IN[name]):
        ask()
    assert cloud.requests == []


def credential_variables(stand_in: BedrockStandIn, kind: str, folder: Path) -> dict[str, str]:
    """Give the stand-in's credential in one of AWS's ways; write its files below the folder, which is the home."""
    aws = folder / ".aws"
    aws.mkdir()
    match kind:
        case "static keys":
            return {"AWS_ACCESS_KEY_ID": stand_in.api_key, "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
        case "profile":
            (aws / "credentials").write_text(
                f"[work]\naws_access_key_id = {stand_in.api_key}\naws_secret_access_key = s\n"
            )
            return {"AWS_PROFILE": "work"}
        case "credential_process":
            told = {"Version": 1, "AccessKeyId": stand_in.api_key, "SecretAccessKey": "s"}
            program = folder / "a program"
            program.write_text(f"#!/bin/sh\nenv >> '{folder}/seen'\necho '{json.dumps(told)}'\n")
            program.chmod(0o700)
            (aws / "config").write_text(f'[profile work]\ncredential_process = "{program}" --flag\n')
            return {"AWS_PROFILE": "work"}
        case "container role":
            return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": stand_in.container_credentials_url}
    raise AssertionError(kind)


@bedrock_only
@pytest.mark.parametrize("kind", ["static keys", "profile", "credential_process", "container role"])
def test_each_source_of_aws_credentials_works_and_a_credential_program_does_not_see_the_request(
    cloud: BedrockStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in credential_variables(cloud, kind, tmp_path).items():
        monkeypatch.setenv(name, value)
    for _ in range(3):
        ask(messages=[user("MARKED")])
    assert len(cloud.requests) == 3
    assert all(f"Credential={cloud.api_key}/" in record.headers["authorization"] for record in cloud.requests)
    if kind == "credential_process":
        seen = (tmp_path / "seen").read_text()
        assert "AWS_PROFILE=work" in seen
        assert "MARKED" not in seen
        assert "EXTRA_BODY" not in seen


def test_an_agent_runs_on_a_cloud(cloud: AnyStandIn, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Paris")
    litellm_claude_code.profile("reader", tools=["Read"], cwd=tmp_path)
    cloud.script(answer(ToolUse("Read", {"file_path": str(tmp_path / "notes.txt")})), "Paris.")
    assert ask("sonnet@reader").choices[0].message.content == "Paris."
    assert asked(cloud) == [ALIASES[name_of(cloud)]["sonnet"]] * 2


def test_dspys_lm_works(cloud: AnyStandIn) -> None:
    cloud.script("Paris.")
    assert ClaudeCodeLM("haiku", cache=False)("What is the capital of France?") == ["Paris."]
    assert asked(cloud) == [ALIASES[name_of(cloud)]["haiku"]]


PROGRAM = """
import litellm
import litellm_claude_code

response = litellm.completion("claude_code/sonnet", messages=[{"role": "user", "content": "Hello"}])
print(response.choices[0].message.content)
"""


@bedrock_only
def test_a_program_that_starts_on_a_cloud_gets_its_answer(cloud: AnyStandIn, forks: Forker, tmp_path: Path) -> None:
    script = forks.start(PROGRAM, home=tmp_path, LITELLM_CLAUDE_CODE_SELF_CHECK="false")
    assert script.wait() == ("You said: Hello\n", "")
    assert script.program.wait() == 0
    assert asked(cloud) == [ALIASES[name_of(cloud)]["sonnet"]]


class WithoutProfiles(BedrockStandIn):
    """Bedrock for a role that may not list inference profiles."""

    def _answer_other(self, request: Any, content: bytes) -> Any:
        super()._answer_other(request, content)  # records the request
        return self._fail(bedrock("AccessDeniedException"))


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in BedrockStandIn(port=1).environment:
        monkeypatch.setenv(name, "")  # the example sets it; undone after the test
    run_page(DOCS / "clouds.md", capsys)


@bedrock_only
@pytest.mark.usefixtures("quiet_again", "one_self_check")
def test_doctor_shows_the_account_and_the_models(cloud: AnyStandIn) -> None:
    found = findings(is_offline=False, model="haiku", is_asking=False)
    finding = next(one for one in found if one.about == "login")
    told = " ".join(finding.sentences)
    assert finding.verdict == "good"
    assert "A cloud account pays" in told
    assert f"haiku is {ALIASES[name_of(cloud)]['haiku']}" in told
    assert cloud.requests == []


def test_bedrock_reports_which_models_the_account_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with BedrockStandIn() as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")  # boto3 sends it with HTTPS only
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(stand_in.api_key))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        stand_in.inference_profiles = tuple(litellm_claude_code.whoami()["cloud_models"].values())
        assert "The account may use these models." in _of_cloud(litellm_claude_code.whoami())
        stand_in.models_not_enabled = ("anthropic.claude-opus-5-5",)
        stand_in.inference_profiles = tuple(one for one in stand_in.inference_profiles if "haiku" not in one)
        monkeypatch.setenv("ANTHROPIC_DEFAULT_FABLE_MODEL", PROFILE_ARN)
        told = litellm_claude_code.whoami()["cloud_available"]
        assert (told["sonnet"], told["opus"], told["haiku"], told["fable"]) == (True, False, False, None)
        assert stand_in.requests == []
        sentences = " ".join(_of_cloud(litellm_claude_code.whoami()))
        assert f"The account may not use {ALIASES['bedrock']['haiku']}, {ALIASES['bedrock']['opus']}." in sentences
        assert "Bedrock console" in sentences
        assert "shows only when it is asked" in sentences


@pytest.mark.parametrize("cloud", ["vertex", "foundry"], indirect=True)
def test_other_clouds_do_not_report_which_models_the_account_may_use(cloud: AnyStandIn) -> None:
    assert set(litellm_claude_code.whoami()["cloud_available"].values()) == {None}


def test_without_the_permission_to_list_models_the_rest_is_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with WithoutProfiles() as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(stand_in.api_key))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        identity = litellm_claude_code.whoami()
        assert identity["cloud_models"].items() >= ALIASES["bedrock"].items()
        assert set(identity["cloud_available"].values()) == {None}
        assert "shows only when it is asked" in " ".join(_of_cloud(identity))


def test_whoami_names_the_account_without_a_request(cloud: AnyStandIn) -> None:
    identity = litellm_claude_code.whoami()
    name = name_of(cloud)
    expected = {
        "bedrock": {"region": "us-east-1"},
        "vertex": {"project": "stand-in-project", "region": "us-east5"},
        "foundry": {},
    }[name]
    assert (identity["payer"], identity["cloud"], identity["is_logged_in"]) == ("cloud", name, True)
    assert identity["cloud_account"] == expected
    assert identity["cloud_models"].items() >= ALIASES[name].items()
    assert cloud.requests == []
    assert str(cloud.api_key) not in repr(identity)


# Tests that close the pool: all others find warm processes.


def test_a_role_that_may_not_list_profiles_can_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with WithoutProfiles() as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        ask("haiku")
        ask(PROFILE_ARN)
        assert asked(stand_in) == [ALIASES["bedrock"]["haiku"], PROFILE_ARN]
        assert stand_in.other_requests
        litellm_claude_code.close()


@bedrock_only
def test_a_subscription_and_a_cloud_side_by_side_get_their_own_ids(
    cloud: AnyStandIn, login: pytest.MonkeyPatch, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        monkeypatch.setenv("CLAUDE_CODE_USE_BEDROCK", "1")
        ask("sonnet")
        monkeypatch.delenv("CLAUDE_CODE_USE_BEDROCK")
        ask("sonnet", api_base=stand_in.base_url)
    assert asked(cloud) == [ALIASES["bedrock"]["sonnet"]] * 2
    assert asked(stand_in) == ["claude-sonnet-5-5"] * 2


def test_a_cloud_process_gets_no_other_credential(
    cloud: AnyStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(tmp_path, "secret-of-a-login")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    for name, value in {**OTHER_SECRETS, **CLOUD_SECRETS}.items():
        if name not in cloud.environment:
            monkeypatch.setenv(name, value)
    litellm_claude_code.close()
    ask()
    own = {"bedrock": "secret-of-amazon", "foundry": "secret-of-entra"}
    for pid in claude_processes(tmp_path):
        secrets = {value for value in psutil.Process(pid).environ().values() if "secret-of" in value}
        assert secrets <= {own.get(name_of(cloud))}
    sent = repr([(record.headers, record.body) for record in (*cloud.requests, *cloud.other_requests)])
    assert cloud.requests
    assert "secret-of" not in sent


WHOLE = {BEDROCK: "1", "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize(
    ("environ", "given", "sentence"),
    [
        ({BEDROCK: "1"}, {}, "Amazon Bedrock needs a region: set AWS_REGION or AWS_DEFAULT_REGION"),
        ({BEDROCK: "1", "AWS_REGION": " "}, {}, "needs a region"),
        ({VERTEX: "true"}, {}, "Google Vertex AI needs a project: set ANTHROPIC_VERTEX_PROJECT_ID"),
        ({FOUNDRY: "yes"}, {}, "Microsoft Foundry needs a resource: set ANTHROPIC_FOUNDRY_RESOURCE or"),
        ({**WHOLE, VERTEX: "1"}, {}, f"{BEDROCK} and {VERTEX} are set: unset all but the one"),
        (WHOLE, {"api_key": "sk"}, f"{BEDROCK} has a cloud account pay, but `api_key` of the call"),
        ({**WHOLE, "LITELLM_CLAUDE_CODE_AUTH": "api_key"}, {}, "but LITELLM_CLAUDE_CODE_AUTH=api_key"),
        ({**WHOLE, "ANTHROPIC_BASE_URL": "http://gateway.example"}, {}, "but ANTHROPIC_BASE_URL names something else"),
        ({"CLAUDE_CODE_USE_MANTLE": "1"}, {}, "CLAUDE_CODE_USE_MANTLE is set, a service that this package was not"),
        ({"LITELLM_CLAUDE_CODE_AUTH": "cloud"}, {}, "no cloud is named: set one of CLAUDE_CODE_USE_BEDROCK"),
    ],
)
def test_an_environment_with_a_contradictory_or_incomplete_cloud_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], given: dict[str, str], sentence: str
) -> None:
    litellm_claude_code.close()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(litellm.AuthenticationError, match=sentence):
        ask(**given)
    with pytest.raises(litellm.AuthenticationError, match=sentence):
        litellm_claude_code.whoami(**given)
    assert claude_processes() == []
