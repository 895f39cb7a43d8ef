"""The checks of `doctor`. Each returns a finding: sentences for people and data for programs."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from .exits import describe
from .provider import boot_no_spares, full_name, load_litellm

if TYPE_CHECKING:
    from litellm_claude_code.process.whoami import Identity

Verdict = Literal["good", "note", "bad", "skipped"]

_QUESTION: Final = "Answer with the one word: ok"
_ROUND_TRIPS: Final = 5
_TOLD_WITHIN_S: Final = 5.0
_UNTOLD: Final = ("CLAUDE_CODE_OAUTH_TOKEN",)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check. A `note` is worth reading, but only `bad` is a problem."""

    about: str
    verdict: Verdict
    sentences: list[str]
    data: dict[str, Any] = field(default_factory=dict)


def findings(*, is_offline: bool, model: str, is_asking: bool) -> Iterator[Finding]:
    """Run the checks and yield each finding at once.

    A model is asked only if `is_asking` is true, `is_offline` is false, and the login is good.
    """
    load_litellm()
    import litellm_claude_code

    settings = _settings()
    boot_no_spares()
    yield _versions()
    if settings.verdict == "bad":
        yield settings
        return
    yield _self_check()
    payer = _skipped_login() if is_offline else _tried("login", _login)
    yield payer
    yield _tried("limits", partial(_limits, payer, model))
    yield _tried("overhead", _loopback)
    if is_offline or not is_asking or payer.verdict == "bad":
        why = "of --offline" if is_offline else "of --no-call" if not is_asking else "there is no working login"
        yield Finding(about="call", verdict="skipped", sentences=[f"No model was called, because {why}."])
    else:
        yield _tried("call", partial(_call, model))
    yield settings
    litellm_claude_code.close()


def _tried(about: str, check: Callable[[], Finding]) -> Finding:
    """Return what a check finds. An exception is a problem, too."""
    try:
        return check()
    except Exception as error:
        code, sentence = describe(error)
        return Finding(about=about, verdict="bad", sentences=[sentence], data={"exit_code": int(code)})


def _versions() -> Finding:
    from litellm_claude_code.tested_versions import remark, warning

    names = ("litellm_claude_code", "litellm", "claude-agent-sdk", "dspy")
    installed = {name: version for name in names if (version := _version(name)) is not None}
    data = {"python": sys.version.split()[0], **installed}
    listed = ", ".join(f"{name} {version}" for name, version in data.items())
    warnings = [text for name, version in installed.items() if (text := warning(name, version))]
    remarks = [text for name, version in installed.items() if (text := remark(name, version))]
    verdict: Verdict = "bad" if warnings else "good"
    return Finding(about="versions", verdict=verdict, sentences=[f"{listed}.", *(warnings or remarks)], data=data)


def _version(name: str) -> str | None:
    """Return the version that an import gets: the first on the path if there are several, None if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _self_check() -> Finding:
    from litellm_claude_code import provider
    from litellm_claude_code.tested_versions import CLI_BY_SDK

    report = provider.self_check()
    is_tested = CLI_BY_SDK.get(report.sdk_version) == report.cli_version
    data = {
        "sdk_version": report.sdk_version,
        "cli_version": report.cli_version,
        "cli": str(report.cli) if report.cli else None,
        "is_tested": is_tested,
        "problems": list(report.problems),
        "policies": list(report.policies),
    }
    if not report.is_good:
        return Finding(about="cli", verdict="bad", sentences=[report.sentence()], data=data)
    sentences = [
        f"Claude Code CLI {report.cli_version} with claude-agent-sdk {report.sdk_version}"
        f"{', which this package was tested with' if is_tested else ''}.",
        "The self-check on loopback passed.",
        f"Its path is {report.cli}.",
    ]
    return Finding(about="cli", verdict="good", sentences=sentences, data=data)


def _skipped_login() -> Finding:
    return Finding(about="login", verdict="skipped", sentences=["The login was not checked, because of --offline."])


def _login() -> Finding:
    from litellm_claude_code import whoami
    from litellm_claude_code.login import HOW_TO_PAY

    identity = whoami()
    data = dict(identity)
    if not identity["is_logged_in"]:
        return Finding(about="login", verdict="bad", sentences=["Not logged in.", HOW_TO_PAY], data=data)
    sentences = [_payment(identity)]
    if identity["payer"] == "subscription":
        behaviour = "continue on" if identity["allows_overage"] else "fail rather than use"
        sentences.append(f"At a limit, calls {behaviour} extra usage, which is billed.")
        if os.environ.get("ANTHROPIC_API_KEY"):
            sentences.append("The ANTHROPIC_API_KEY in the environment is not used.")
    if identity["payer"] == "cloud":
        sentences += _of_cloud(identity)
    is_surprise = identity["payer"] == "api_key" and os.environ.get("LITELLM_CLAUDE_CODE_AUTH") != "api_key"
    return Finding(about="login", verdict="note" if is_surprise else "good", sentences=sentences, data=data)


def _payment(identity: Identity) -> str:
    """Return a sentence that says who pays for calls, and how they are billed."""
    account = [identity["email"], identity["organization"], identity["plan"] and f"plan {identity['plan']}"]
    details = [*filter(None, account), *([f"from {identity['source']}"] if identity["source"] else [])]
    known = f" ({', '.join(details)})" if details else ""
    match identity["payer"]:
        case "subscription":
            return f"A Claude subscription pays{known}: calls count against its limits and are not billed per token."
        case "api_key":
            return f"An API key pays{known}: every token is billed at API prices."
        case "gateway":
            return f"The gateway at {identity['base_url']} pays{known}: its operator sets the prices."
        case "cloud":
            return f"A cloud account pays{known}, through {identity['cloud']}: tokens are billed at its prices."


def _of_cloud(identity: Identity) -> list[str]:
    """Return sentences on the account of a cloud and on what the aliases mean there."""
    account = ", ".join(f"{what} {value}" for what, value in identity["cloud_account"].items())
    ids = ", ".join(f"{alias} is {model}" for alias, model in identity["cloud_models"].items())
    return [
        *([f"The account: {account}."] if account else []),
        f"There, {ids}.",
        *_available(identity["cloud_models"], identity["cloud_available"]),
    ]


def _available(models: Mapping[str, str], available: Mapping[str, bool | None]) -> list[str]:
    """Return sentences on whether the account may use the models behind the aliases."""
    from litellm_claude_code.clouds import BEDROCK

    refused = sorted({models[alias] for alias, is_available in available.items() if is_available is False})
    told = [f"The account may not use {', '.join(refused)}. {BEDROCK.how_to_enable}."] if refused else []
    if None in available.values():
        return [*told, "Whether the account may use a model shows only when it is asked."]
    return told or ["The account may use these models."]


def _limits(login: Finding, model: str) -> Finding:
    """Return the account's limits.

    The CLI asks for them when the first process is ready. This is a request, but not one to a model.
    """
    from litellm_claude_code import provider
    from litellm_claude_code.limits.subscription import LimitStatus, sentences

    if login.verdict == "bad" or login.data.get("payer") != "subscription":
        return Finding(
            about="limits", verdict="skipped", sentences=["No subscription pays, so there are no limits to show."]
        )
    provider.warm_up(full_name(model))
    until = time.monotonic() + (0 if login.data.get("source") in _UNTOLD else _TOLD_WITHIN_S)
    while not (status := cast(LimitStatus, provider.rate_limit_status()))["windows"] and time.monotonic() < until:
        time.sleep(0.05)
    said, data = sentences(status, time.time()), dict(status)
    if not said:
        nothing = (
            "The CLI reports no limits. With a token from `claude setup-token`, it reports a limit when it is reached."
        )
        return Finding(about="limits", verdict="skipped", sentences=[nothing], data=data)
    is_near = status["status"] != "allowed" or status["overage"]["is_in_use"]
    verdict: Verdict = "bad" if status["reached"] else "note" if is_near else "good"
    return Finding(about="limits", verdict=verdict, sentences=said, data=data)


def _loopback() -> Finding:
    """Time a few calls to the embedded stand-in. Its answers take no time, so the time measured is the overhead."""
    from litellm_claude_code.testing import StandIn

    with StandIn(respond=lambda _: "ok", validate=False) as stand_in:
        where = {"api_base": stand_in.base_url, "api_key": stand_in.api_key}
        took_ms = [_ask("haiku", **where)[1] for _ in range(1 + _ROUND_TRIPS)]
        body = stand_in.requests[-1].body
    first_ms, warm_ms = took_ms[0], statistics.median(took_ms[1:])
    own = " ".join(block["text"] for block in body["system"])
    tokens = load_litellm().token_counter(text=own)
    return Finding(
        about="overhead",
        verdict="good",
        sentences=[
            f"{warm_ms:.0f} ms per call on a running process (median of {_ROUND_TRIPS}), and {first_ms:.0f} ms for the "
            "first call, which starts one. Measured on loopback, where answers take no time.",
            f"About {tokens} tokens per request, for the {len(own)} characters that Claude Code adds to the system "
            "prompt.",
        ],
        data={"first_ms": first_ms, "warm_ms": warm_ms, "tokens": tokens, "characters": len(own)},
    )


def _call(model: str) -> Finding:
    """Ask the real model for one word."""
    from litellm_claude_code import warm_up

    warm_up(full_name(model))
    response, took_ms = _ask(model)
    used = response.usage
    return Finding(
        about="call",
        verdict="good",
        sentences=[
            f"{response.model} answered in {took_ms:.0f} ms, on a running process: "
            f"{used.prompt_tokens} tokens in, {used.completion_tokens} out."
        ],
        data={
            "model": response.model,
            "ms": took_ms,
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
        },
    )


def _ask(model: str, **where: str) -> tuple[Any, float]:
    litellm = load_litellm()
    started = time.perf_counter()
    messages = [{"role": "user", "content": _QUESTION}]
    response = litellm.completion(full_name(model), messages=messages, max_tokens=64, timeout=120, **where)
    return response, 1000 * (time.perf_counter() - started)


def _settings() -> Finding:
    from litellm_claude_code.settings import PREFIX, Settings, SettingsError, from_environment

    try:
        settings = from_environment()
    except SettingsError as error:
        return Finding(about="settings", verdict="bad", sentences=[str(error)])
    values = settings.model_dump(mode="json")
    told = []
    for name in Settings.model_fields:
        is_set = f"{PREFIX}{name}".upper() in os.environ
        told.append(f"{name.upper()}={_shown(values[name])}{'  (from the environment)' if is_set else ''}")
    return Finding(about="settings", verdict="good", sentences=told, data=values)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
