"""What an operator of `serve` looks for: users with limits, a log for machines, metrics, and no endless queue."""

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from litellm_claude_code.proxy.backlog import Backlog
from litellm_claude_code.proxy.config import ConfigError
from litellm_claude_code.proxy.keys import Users
from litellm_claude_code.proxy.metrics import Metrics
from litellm_claude_code.proxy.records import Record
from litellm_claude_code.proxy.refused import Refused
from litellm_claude_code.testing import Answer, Failure, StandIn, Text

from .support.examples import DOCS, blocks
from .support.scripts import Forker
from .support.served import Served, serving
from .support.waiting import wait_until

ALICE, BOB = "sk-of-alice-0123456789", "sk-of-bob-0123456789"
SECRET = "zanzibar-4711"
CHAT: Any = {"model": "sonnet", "messages": [{"role": "user", "content": SECRET}]}
DAY_S = 86400


def users_file(folder: Path, **limits: str) -> Path:
    """Write a file of two users, the first with limits."""
    lines = ["[alice]", f'key_sha256 = "{digest(ALICE)}"', *(f"{name} = {value}" for name, value in limits.items())]
    return written(folder, "\n".join([*lines, "[bob]", f'key_sha256 = "{digest(BOB)}"', ""]))


def written(folder: Path, content: str, mode: int = 0o600) -> Path:
    file = folder / "users.toml"
    file.write_text(content)
    file.chmod(mode)
    return file


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def record(user: str | None = None, **fields: Any) -> Record:
    given: dict[str, Any] = {
        "id": "req_1", "user": user, "method": "POST", "path": "/v1/messages", "model": "sonnet", "status": 200,
        "took_s": 0.2, "queued_s": 0.0, "tokens_in": 10, "tokens_out": 5, "cost_usd": 0.25, "is_left": False,
    }  # fmt: skip
    return Record(**{**given, **fields})


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory, one_stand_in: StandIn, server_forks: Forker) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("operated")
    file = users_file(folder, max_requests="1", max_requests_per_day="4")
    options = ("--keys", str(file), "--log-format", "json", "--max-requests", "6", "--max-wait-s", "0.01")
    environ = {"LITELLM_CLAUDE_CODE_MAX_WORKERS": "1"}
    with serving(folder, one_stand_in, *options, forks=server_forks, **environ) as server:
        yield server


def client(server: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"x-api-key": key}, timeout=60)


def test_a_user_has_limits_and_the_operator_sees_all(operated: Served, stand_in: StandIn) -> None:
    with client(operated, ALICE) as alice, client(operated, BOB) as bob, client(operated, operated.key) as operator:
        first = alice.post("/v1/chat/completions", json=CHAT)
        assert (first.status_code, alice.get("/v1/models").status_code) == (200, 200)
        two = alice.post("/v1/chat/completions", json={**CHAT, "n": 2})
        assert (two.status_code, two.json()["error"]["message"]) == (
            429, "You have 0 requests in progress, and 1 are allowed.",
        )  # fmt: skip
        for path in ("/v1/messages", "/v1/responses"):
            body = {**CHAT, "max_tokens": 9} if path == "/v1/messages" else {"model": "sonnet", "input": SECRET}
            assert "data:" in alice.post(path, json={**body, "stream": True}).text
        assert alice.post("/v1/completions", json={"model": "sonnet", "prompt": SECRET}).status_code == 200
        daily = alice.post("/v1/chat/completions", json=CHAT)
        assert (daily.status_code, daily.json()["error"]["type"]) == (429, "rate_limit_error")
        assert 0 < int(daily.headers["retry-after"]) <= DAY_S
        assert bob.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert bob.get("/v1/models", headers={"x-api-key": "sk-of-nobody-0123456789"}).status_code == 401
        assert (alice.get("/metrics").status_code, operator.get("/metrics").status_code) == (403, 200)
        told = metrics(operator.get("/metrics").text)
    assert told['litellm_claude_code_user_requests_today{user="alice"}'] == 4
    assert told['litellm_claude_code_user_requests_today{user="bob"}'] == 1
    assert told['litellm_claude_code_user_usd_today{user="alice"}'] > 0
    ok = 'litellm_claude_code_requests_total{path="/v1/chat/completions",status="%s",model="sonnet"}'
    assert (told[ok % 200], told[ok % 429]) == (2, 2)
    assert told["litellm_claude_code_processes_max"] == 1
    assert told['litellm_claude_code_request_seconds_bucket{path="/v1/messages",le="+Inf"}'] == 1
    lines = [json.loads(line) for line in operated.log.read_text().splitlines() if line.startswith("{")]
    asked = [line for line in lines if line.get("user") == "alice" and line["status"] == 200 and line["model"]]
    assert [line["path"] for line in asked] == [
        "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions",
    ]  # fmt: skip
    for line in asked:
        assert line["tokens_in"] > 0
        assert line["tokens_out"] > 0
        assert line["cost_usd"] > 0
        assert 0 <= line["queue_ms"] <= line["ms"]
        assert line["time"].endswith("+00:00")
    assert asked[0]["id"] == first.headers["x-request-id"]
    log = operated.log.read_text()
    assert not any(word in log for word in (SECRET, ALICE, BOB, digest(ALICE)))
    usage = json.loads((operated.log.parent / "users.usage.json").read_text())["usage"]
    assert usage["alice"]["tokens_out"] == sum(line["tokens_out"] for line in asked)


def metrics(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_request_that_would_wait_too_long_gets_a_429_with_retry_after(operated: Served, stand_in: StandIn) -> None:
    stand_in.respond = lambda _request: Answer(content=[Text("Done.")], delay_s=0.5)
    with client(operated, operated.key) as operator:
        assert operator.post("/v1/chat/completions", json=CHAT).status_code == 200
        free = threading.Event()
        stand_in.respond = lambda _request: "Done." if free.wait(60) else Failure(500)
        with ThreadPoolExecutor(1) as threads:
            held = threads.submit(operator.post, "/v1/chat/completions", json=CHAT)
            wait_until(lambda: stand_in.in_flight == 1)
            refused = operator.post("/v1/chat/completions", json=CHAT)
            assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
            assert "would wait for about" in refused.json()["error"]["message"]
            free.set()
            assert held.result().status_code == 200


def test_a_client_that_leaves_pays_for_what_it_got(operated: Served, stand_in: StandIn) -> None:
    stand_in.respond = lambda _request: Answer(content=[Text("word " * 5000)], between_s=0.02)
    with (
        client(operated, operated.key) as operator,
        operator.stream("POST", "/v1/messages", json={**CHAT, "max_tokens": 99, "stream": True}) as response,
    ):
        next(text for text in response.iter_text() if "word" in text)
        left = response.headers["x-request-id"]
    wait_until(lambda: f'"id": "{left}"' in operated.log.read_text())
    [line] = [json.loads(line) for line in operated.log.read_text().splitlines() if left in line]
    assert line["client_left"] is True
    assert (line["tokens_in"] > 0, line["tokens_out"] > 0, line["cost_usd"] > 0) == (True, True, True)


def test_usage_outlives_the_server_and_ends_with_the_day(tmp_path: Path) -> None:
    file = users_file(tmp_path, max_usd_per_day="1.0")
    users = Users(file, clock=lambda: 10 * DAY_S - 60)
    assert users.find([b"sk-of-nobody", ALICE.encode()]) == "alice"
    assert users.find([b"", digest(ALICE).encode()]) is None
    for _ in range(4):
        users.check("alice", 1)
        users.begin("alice", 1)
        users.release("alice", 1)
        users.note(record("alice"))
    with pytest.raises(ConfigError, match="Another server uses"):
        Users(file)
    users.close()
    assert (tmp_path / "users.usage.json").stat().st_mode & 0o777 == 0o600
    again = Users(file, clock=lambda: 10 * DAY_S - 30)
    assert again.usage()["alice"] == {"requests": 4, "tokens_in": 40, "tokens_out": 20, "usd": 1.0}
    with pytest.raises(Refused, match="limit of 1 dollars a day") as refused:
        again.check("alice", 1)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 31)
    again.check("bob", 1)
    again.close()
    tomorrow = Users(file, clock=lambda: 10 * DAY_S)
    tomorrow.check("alice", 1)
    tomorrow.close()
    (tmp_path / "users.usage.json").write_text("[]")
    with pytest.raises(ConfigError, match="is not a file of usage"):
        Users(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no users"),
        ("[alice", "not valid TOML"),
        ("[alice]", "`key_sha256`: Field required"),
        ('[alice]\nkey_sha256 = "abc"', "`key_sha256`: String should match"),
        (f'[alice]\nkey_sha256 = "{"0" * 64}"\nmax_usd = 3', "there is no field `max_usd`. Use key_sha256"),
        (f'[alice]\nkey_sha256 = "{"0" * 64}"\nmax_requests = 0', "`max_requests`: Input should be greater"),
        (f'[alice]\nkey_sha256 = "{"0" * 64}"\nmax_usd_per_day = nan', "`max_usd_per_day`: Input should be"),
        (f'[alice]\nkey_sha256 = "{"0" * 64}"\n[bob]\nkey_sha256 = "{"0" * 64}"', "have the same key"),
        ('["a b"]\nkey_sha256 = "abc"', "with a name of letters"),
        ("alice = 3", "must be a table"),
    ],
)
def test_a_wrong_file_of_users_is_an_error_that_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Users(written(tmp_path, content))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_of_users_is_its_owners_alone(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="Run: chmod 600"):
        Users(written(tmp_path, "", mode))
    with pytest.raises(ConfigError, match="Cannot read"):
        Users(tmp_path / "nothing.toml")


@pytest.mark.processes
def test_the_command_in_the_docs_makes_a_key_and_its_hash() -> None:
    command = next(block for block in blocks(DOCS / "serving.md", "bash") if "sha256sum" in block)
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    key, told = ran.stdout.split()[:2]
    assert (key.startswith("sk-"), told) == (True, digest(key))


def test_the_backlog_estimates_waits_by_the_last_requests() -> None:
    backlog = Backlog(2)
    assert backlog.wait_s(100) == 0  # nothing is known yet
    backlog.note(10)
    assert [backlog.wait_s(count) for count in (1, 2, 3, 6)] == [0, 0, 5, 20]
    for _ in range(100):
        backlog.note(1)
    assert backlog.wait_s(3) == pytest.approx(0.5)


def test_metrics_are_in_prometheus_format() -> None:
    counted = Metrics()
    counted.note(record(model='a"b\\c\nd', took_s=0.1))
    counted.note(record(status=None, took_s=1e9))
    window = {"utilization": 0.5, "resets_at": 1.0, "status": "allowed"}
    text = counted.text(
        in_progress=1, max_requests=2, max_processes=3, pool={"workers": {"idle": 2}, "queue": 4},
        limits={"windows": {"five_hour": window}, "reached": [1]}, users={},
    ).decode()  # fmt: skip
    told = metrics(text)
    prefix = "litellm_claude_code_"
    assert told[prefix + 'requests_total{path="/v1/messages",status="200",model="a\\"b\\\\c\\nd"}'] == 1
    assert told[prefix + 'requests_total{path="/v1/messages",status="left",model="sonnet"}'] == 1
    assert told[prefix + 'request_seconds_bucket{path="/v1/messages",le="0.1"}'] == 1
    assert told[prefix + 'request_seconds_bucket{path="/v1/messages",le="+Inf"}'] == 2
    assert told[prefix + 'processes{state="idle"}'] == 2
    assert told[prefix + 'subscription_utilization{window="five_hour"}'] == 0.5
    assert text.endswith("\n")
    kinds = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    assert ["litellm_claude_code_queue_length", "gauge"] in kinds
    assert len(kinds) == len({name for name, _ in kinds}) == text.count("# HELP")
