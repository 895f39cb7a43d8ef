"""Two servers behind litellm's Router, with Redis for what Routers share: what docs/serving.md says of it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from typer.testing import CliRunner

from litellm_claude_code.testing import Answer, StandIn, Text, answer
from litellm_claude_code_cli.app import app

from .support.limits import limited
from .support.processes import wait_until_ended
from .support.scripts import Forker
from .support.served import Served, serving
from .support.waiting import wait_until

KEY = "sk-of-both-nodes-0123456789"
WORDS = "one two three four five six seven eight nine ten " * 6
COOLDOWN_S = 3


class Routers:
    """Two of litellm's Routers over both servers, in a process of their own (`support/router_process.py`)."""

    def __init__(self, urls: list[str], redis_port: int, forks: Forker, folder: Path) -> None:
        params = {"model": "litellm_proxy/claude_code/sonnet", "api_key": KEY}
        router = {
            "model_list": [
                {"model_name": "sonnet", "litellm_params": {**params, "api_base": url}, "model_info": {"id": url}}
                for url in urls
            ],
            "redis_host": "127.0.0.1",
            "redis_port": redis_port,
            "cooldown_time": COOLDOWN_S,
            "allowed_fails": 0,
            "num_retries": 3,
            "retry_after": 1,
        }
        folder.mkdir()
        os.mkfifo(folder / "commands")
        code = f"import runpy, sys; sys.stdin = open({str(folder / 'commands')!r}); "
        code += "runpy.run_module('tests.support.router_process', run_name='__main__', alter_sys=True)"
        self._script = forks.start(code, json.dumps(router), home=folder)
        self._commands = os.open(folder / "commands", os.O_RDWR)  # with O_WRONLY it would wait for the process
        self._out = folder / "out"
        self._heard = 0

    def say(self, command: str) -> None:
        os.write(self._commands, f"{command}\n".encode())

    def hear(self) -> Any:
        """Return the next line that is JSON: litellm prints, too."""
        return wait_until(self._next, self._out.read_text)[0]

    def _next(self) -> list[Any]:
        """Return the next line that is JSON in a list, or an empty list."""
        assert self._script.program.poll() is None, "the Router's process ended"
        for line in self._out.read_text().splitlines(keepends=True)[self._heard :]:
            if line.endswith("\n"):
                self._heard += 1
                with contextlib.suppress(ValueError):
                    return [json.loads(line)]
        return []

    def ask(self, router: int, count: int) -> list[str]:
        self.say(f"{router} ask {count}")
        return list(self.hear())

    def cooling(self, router: int) -> list[str]:
        self.say(f"{router} cooling")
        return list(self.hear())

    def close(self) -> None:
        os.close(self._commands)
        self._script.program.terminate()
        self._script.wait()


@contextlib.contextmanager
def two_nodes(folder: Path, forks: Forker) -> Iterator[tuple[list[StandIn], list[Served]]]:
    """Start both: one on the configuration that it makes, one on a file of ours."""
    env = {"LITELLM_MASTER_KEY": KEY, "LITELLM_CLAUDE_CODE_MAX_WORKERS": "2"}
    printed = json.loads(CliRunner().invoke(app, ["serve", "--print-config"]).stdout)
    reader = {"model_name": "reader", "litellm_params": {"model": "claude_code/sonnet@reader"}}
    config = folder / "config.yaml"
    config.write_text(json.dumps({**printed, "model_list": [*printed["model_list"], reader]}))
    (folder / "agents.toml").write_text('[reader]\ntools = ["Read"]\ncwd = "."\n')
    agents = {"LITELLM_CLAUDE_CODE_PROFILES": str(folder / "agents.toml")}
    profiles, configured = ("--profiles", str(folder / "agents.toml")), ("--config", str(config))
    with (
        StandIn() as one,
        StandIn() as other,
        serving(folder / "first", one, *profiles, forks=forks, **env) as first,
        serving(folder / "second", other, *configured, forks=forks, **env, **agents) as second,
    ):
        yield [one, other], [first, second]


@pytest.mark.processes
def test_a_node_that_dies_under_load_is_left_out_until_it_is_back(
    server_forks: Forker, tmp_path: Path, redis_port: int
) -> None:
    with contextlib.ExitStack() as stack, two_nodes(tmp_path, server_forks) as (stand_ins, (first, second)):
        for stand_in in stand_ins:
            stand_in.respond = lambda _request: Answer(content=[Text(WORDS)], between_s=0.1)
        with openai.OpenAI(base_url=f"{first.url}/v1", api_key=KEY, max_retries=0) as client:
            assert "sonnet@reader" in [model.id for model in client.models.list()]
            answered = client.chat.completions.create(**{**ASKED, "model": "haiku@reader"})
            assert answered.choices[0].message.content == WORDS
        routers = Routers([first.url, second.url], redis_port, server_forks, tmp_path / "routers")
        stack.callback(routers.close)
        assert routers.hear() == "ready"

        routers.say("0 ask 8")
        wait_until(lambda: all(stand_in.in_flight for stand_in in stand_ins))
        first.process.kill()
        ended = routers.hear()
        assert len(ended) == 8
        assert ended.count(WORDS) >= 4, ended

        # What one Router has found out, another knows from Redis: it does not even try.
        for stand_in in stand_ins:
            stand_in.respond = lambda _request: WORDS
        wait_until(lambda: routers.ask(0, 1) == [WORDS] and routers.cooling(1) == [first.url])
        assert routers.ask(1, 2) == [WORDS] * 2

        port = first.url.rpartition(":")[2]
        login = {
            "CLAUDE_CODE_OAUTH_TOKEN": str(stand_ins[0].api_key),
            "LITELLM_CLAUDE_CODE_SEND_LOGIN_TO": stand_ins[0].base_url,
            "ANTHROPIC_AUTH_TOKEN": "",
        }
        again_env = {"LITELLM_MASTER_KEY": KEY, **login}
        with serving(tmp_path / "again", stand_ins[0], "--port", port, forks=server_forks, **again_env) as again:
            assert "who pays: subscription" in again.log.read_text()
            seen = len(stand_ins[0].requests)
            wait_until(lambda: routers.ask(1, 1) == [WORDS] and len(stand_ins[0].requests) > seen)
            assert_tells_a_limit(again, stand_ins[0])
            assert again.stop() == 0

        assert_serves_the_agent(second)
        assert_stops_gracefully(second, stand_ins[1])
        wait_until_ended(first.claude_config)


ASKED: Any = {"model": "sonnet", "messages": [{"role": "user", "content": "Hello"}]}


def assert_tells_a_limit(node: Served, stand_in: StandIn) -> None:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=KEY, max_retries=0) as client:
        stand_in.respond = lambda _request: limited(3600)
        for _ in range(2):
            with pytest.raises(openai.RateLimitError, match="5-hour limit") as raised:
                client.chat.completions.create(**ASKED)
            assert 3000 < float(raised.value.response.headers["retry-after"]) <= 3600


def assert_serves_the_agent(node: Served) -> None:
    """The agent that its configuration lists, and no other; nor anybody's conversation with it."""
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=KEY, max_retries=0) as client:
        answered = client.chat.completions.create(**{**ASKED, "model": "reader"})
        assert answered.choices[0].message.content == WORDS
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**{**ASKED, "model": "sonnet@reader"})
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**ASKED, "model": "reader", "extra_body": {"session_id": "another's"}})


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def assert_stops_gracefully(node: Served, stand_in: StandIn) -> None:
    """SIGTERM in the middle of a stream lets it end, and leaves nothing behind."""
    stand_in.respond = lambda _request: answer(WORDS, between_s=0.1)
    children = psutil.Process(node.process.pid).children(recursive=True)
    assert children
    client = openai.OpenAI(base_url=f"{node.url}/v1", api_key=KEY, max_retries=0)
    with client, client.chat.completions.create(**ASKED, stream=True) as stream:
        text = next(filter(None, (chunk.choices[0].delta.content for chunk in stream)))
        node.process.terminate()
        text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == WORDS
    assert node.process.wait(120) == 0
    wait_until_ended(node.claude_config)
    wait_until(lambda: not any(runs(child) for child in children), lambda: children)
    with pytest.raises(httpx.ConnectError):
        httpx.get(node.url)
    assert WORDS[:20] not in node.log.read_text()
