"""One Claude Code process that runs an agent: its command line, its start, and its end.

It is launched like the process of a plain worker, with the same launcher, private folder and login environment. The
agent's loop is the CLI's. Processes that the agent's tools start inherit a mark in their environment; when the agent
has ended, those still running are found by it and killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import psutil

from .. import cli_protocol as cli
from ..cli_protocol import Frame
from ..errors import CallFailed, Failure
from ..in_force import SettingsGuard
from ..login import Login
from ..process import launch
from ..process._sdk import command_line
from ..process.cli_process import CliProcess, finished
from ..process.folders import private_folder
from ..process.spawning import Start
from ..settings import Settings
from ..trusted import replace_file
from .folder import folder_of_run
from .options import to_options
from .profile import Profile, ProfileError

MARK: Final = "LITELLM_CLAUDE_CODE_RUN"
_SAVE_WITHIN_S: Final = 5.0
_TERMINATE_WITHIN_S: Final = 5.0
_LOOK_AT_SERVERS_EVERY_S: Final = 0.05


class AgentProcess:
    """A process for one run: `start`, then `send` and `next`, then `end`. All of it on one event loop."""

    def __init__(
        self,
        profile: Profile,
        login: Login,
        *,
        settings: Settings,
        folder: Path,
        model: str | None = None,
        initialize: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        resumes: bool = False,
        max_budget_usd: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._mark = uuid.uuid4().hex
        self._servers_file: Path | None = None
        options = to_options(profile)
        if options.servers:
            self._servers_file = private_folder() / f"servers-{self._mark}.json"
            replace_file(self._servers_file, json.dumps({"mcpServers": options.servers}))
        flags = replace(
            options.flags,
            model=model,
            cwd=folder,
            mcp_servers=str(self._servers_file) if self._servers_file else {},
            cli_path=launch.cli_of(settings),
            max_budget_usd=max_budget_usd,
            session_id=None if resumes else session_id,
            resume=session_id if resumes else None,
            extra_args={} if session_id else {cli.NO_SESSION_PERSISTENCE.removeprefix("--"): None},
        )
        start = Start(
            command=(*_within(), *command_line(flags)),
            env=self._environment(login, max_tokens=max_tokens),
            cwd=folder,
        )
        self._process = CliProcess(
            start,
            login=login,
            guard=SettingsGuard(environment=login.agent_environment(), is_agent=True),
            settings=settings,
            client_options=options.dialogue,
            initialize=initialize,
        )

    def _environment(self, login: Login, *, max_tokens: int | None) -> dict[str, str]:
        profile = self._profile
        own: dict[str, str] = {
            **login.agent_environment(),
            cli.MAX_RETRIES: str(profile.max_retries),
            **({} if profile.skills else {cli.DISABLE_BUNDLED_SKILLS: "1"}),
            **({cli.MAX_OUTPUT_TOKENS: str(max_tokens)} if max_tokens else {}),
            **{name: value for name in profile.pass_env if (value := os.environ.get(name)) is not None},
            **profile.env,
            MARK: self._mark,
        }
        return {**launch.environment(login, own=own), **_for_supervisor(own)}

    async def start(self) -> None:
        """Spawn the process and wait until its MCP servers are ready.

        Raises `CallFailed` if the process or one of the servers does not start, or if a setting is refused.
        """
        try:
            with anyio.fail_after(self._settings.boot_timeout_s):
                await self._process.boot()
                await self._until_servers_are_ready()
        except CallFailed:
            raise
        except Exception as error:
            said = self._process.last_line_of_stderr or type(error).__name__
            raise CallFailed(Failure(kind="lost", text=f"the agent's process did not start: {said}")) from error
        finally:
            self._remove_servers_file()

    async def _until_servers_are_ready(self) -> None:
        while self._profile.mcp_servers:
            servers = (await self._process.control(cli.MCP_STATUS)).get("mcpServers") or []
            failed = [server for server in servers if server.get("status") in ("failed", "needs-auth")]
            if failed:
                sentences = (f"'{one['name']}' ({one.get('error') or one['status']})" for one in failed)
                text = f"MCP servers of the profile '{self._profile.name}' did not start: {', '.join(sentences)}"
                raise CallFailed(Failure(kind="mcp", text=text))
            if not any(server.get("status") == "pending" for server in servers):
                return
            await anyio.sleep(_LOOK_AT_SERVERS_EVERY_S)

    def send(self, frame: Frame) -> None:
        """Send a frame of the conversation."""
        self._process.send(frame)

    async def next(self) -> Frame:
        """Return the next frame of the conversation. Raises what ended the process, if it has ended."""
        while (frame := await self._process.next_frame()) is None:
            pass
        return frame

    async def end(self, *, politely: bool, has_started_something: bool) -> None:
        """End the process, and with `has_started_something` also the processes that it has left behind.

        With `politely`, it first gets time to save the conversation. Every await on the process has a deadline.
        """
        await self._process.end(politely_s=_SAVE_WITHIN_S if politely else 0, terminate_s=_TERMINATE_WITHIN_S)
        self._remove_servers_file()
        if has_started_something:
            await anyio.to_thread.run_sync(kill_marked, self._mark)

    def _remove_servers_file(self) -> None:
        if self._servers_file is not None:
            self._servers_file.unlink(missing_ok=True)


def kill_marked(mark: str) -> None:
    """Kill every process with this mark in its environment: those that an agent's tools left behind, even detached."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                process.kill()


async def check_servers(profiles: Iterable[Profile], *, settings: Settings) -> None:
    """Start the MCP servers of each profile once. Raises `ProfileError` with the servers that failed, and why."""
    checking = [_check_servers(profile, settings=settings) for profile in profiles if profile.mcp_servers]
    failed = [error for error in await asyncio.gather(*checking, return_exceptions=True) if error is not None]
    if failed:
        raise ProfileError(" ".join(f"{error}." for error in failed))


async def _check_servers(profile: Profile, *, settings: Settings) -> None:
    async with folder_of_run() as empty:
        # No request is made, so any login will do; a gateway's login is not checked.
        process = AgentProcess(profile, Login(payer="gateway"), settings=settings, folder=profile.cwd or empty)
        try:
            await process.start()
        finally:
            await finished(process.end(politely=False, has_started_something=True))


def _for_supervisor(own: Mapping[str, str]) -> dict[str, str]:
    """Return variables that the supervisor's Python may need to start, and removes before it starts the CLI."""
    name = "LD_LIBRARY_PATH"
    value = os.environ.get(name)
    return {} if value is None or name in own else {name: value, "LITELLM_CLAUDE_CODE_DROP": name}


def _within() -> list[str]:
    """Return the command prefix that sends the CLI SIGTERM when this Python process ends.

    SIGTERM and not SIGKILL: on SIGTERM the CLI stops its shell commands, on SIGKILL it leaves them running.
    """
    return launch.supervised() or launch.bound_to_parent("TERM")
