"""How `serve` starts: which key it uses, which machines may use its login, and which configurations it refuses."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from litellm_claude_code.proxy.config import ConfigError, deployments, master_key, read
from litellm_claude_code.proxy.server import ServeOptions, check_exposure, choose_key, serve

LONG = "0123456789abcdef"
WITHOUT = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, *more):
        return None if name.split(".")[0] == "{name}" else self.finder.find_spec(name, *more)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def test_a_key_is_always_in_force(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{LONG}-of-the-file\n")
    given = choose_key(ServeOptions(master_key_file=file), f"{LONG}-named", {"LITELLM_MASTER_KEY": LONG})
    assert (given.value, given.is_made) == (f"{LONG}-of-the-file", False)
    assert choose_key(ServeOptions(), f"{LONG}-named", {"LITELLM_MASTER_KEY": LONG}).value == LONG
    assert choose_key(ServeOptions(), f"{LONG}-named", {}).value == f"{LONG}-named"
    made = [choose_key(ServeOptions(), None, {}) for _ in range(2)]
    assert all(key.is_made and key.value.startswith("sk-") and len(key.value) > 40 for key in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("content", ["", "\n", "sk-1234", f"{LONG} {LONG}", f"{LONG}\n{LONG}", "é" * 20])
def test_an_unusable_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ConfigError, match="too short or not plain text"):
        choose_key(ServeOptions(master_key_file=file), None, {"LITELLM_MASTER_KEY": LONG})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])
def test_a_login_is_served_beyond_this_machine_only_on_request(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--share-my-login"):
        check_exposure(ServeOptions(host=host), {"subscription", "api_key"})
    check_exposure(ServeOptions(host=host), {"api_key", "gateway", "cloud"})
    assert capsys.readouterr().out == ""
    check_exposure(ServeOptions(host=host, shares_login=True), {"subscription"})
    assert "Anthropic's terms" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_a_login_is_served_to_its_owners_own_programs(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_exposure(ServeOptions(host=host), {"subscription"})
    assert capsys.readouterr().out == ""


def test_a_configuration_of_ones_own_is_read_as_litellm_does(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("""
model_list:
  - model_name: mine
    litellm_params: {model: claude_code/opus, api_key: os.environ/MINE, api_base: "https://gateway.example"}
  - model_name: another
    litellm_params: {model: openai/gpt-4o}
general_settings:
  master_key: os.environ/KEY
""")
    config, environ = read(file), {"MINE": "m", "KEY": LONG}
    assert deployments(config, environ) == [
        {"model": "claude_code/opus", "api_key": "m", "api_base": "https://gateway.example"}
    ]
    assert master_key(config, environ) == LONG
    assert master_key(config, {}) is None


@pytest.mark.parametrize("content", [None, "", "[]", "model_list: []", "model_list: 3", "a: b: c"])
def test_a_configuration_that_serves_nothing_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"), socket.socket() as unbound:
        serve(ServeOptions(config=file), unbound)


@pytest.mark.processes
def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(["--port", port], f"Cannot listen on 127.0.0.1, port {port}")
        assert_refused(["--port", port], "Choose another --port", before=WITHOUT.format(name="litellm"))
    for host in ("192.0.2.1", "no-such-host.invalid", "a..b"):
        assert_refused(["--host", host], f"Cannot listen on {host}", before=WITHOUT.format(name="litellm"))
    assert_refused([], 'pip install "litellm_claude_code[proxy]"', before=WITHOUT.format(name="fastapi"))


def assert_refused(options: list[str], said: str, before: str = "") -> None:
    program = f"{before}\nimport sys\nsys.argv[1:] = {['serve', *options]}\n"
    program += "from litellm_claude_code_cli.app import main\nmain()"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_the_configuration_is_printed_to_start_from(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from litellm_claude_code_cli.app import app

    printed: Any = CliRunner().invoke(app, ["serve", "--print-config"])
    assert printed.exit_code == 0
    file = tmp_path / "config.yaml"
    file.write_text(printed.stdout)
    assert {"model_name": "sonnet", "litellm_params": {"model": "claude_code/sonnet"}} in read(file)["model_list"]
    assert json.loads(printed.stdout)["router_settings"]["disable_cooldowns"] is True
