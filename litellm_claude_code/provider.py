"""The litellm provider: four handlers over one stream of events, and their registration with litellm.

litellm has already mapped a request's parameters when it calls a handler. The handler checks and translates the request
in the caller's thread (`translation/`), the pool serves it on the background loop (`pool/`), and the caller receives a
response or chunks.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import litellm
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import LlmProviders, LlmProvidersSet, ModelResponse
from litellm.utils import ProviderConfigManager, custom_llm_setup

from . import models
from .auth import choose_login
from .background_loop import AsyncStream, BackgroundLoop, LazyCoroutine, SyncStream
from .call import Chunk, Request, Waiting
from .errors import (
    CallFailed,
    RunFailed,
    bad_request,
    bugs_reported,
    closed,
    timed_out,
    to_litellm,
    translating_an_answer,
    unsupported,
    without_context,
)
from .models import PROVIDER
from .observer import Observer, Waits, call_scope, current, notify_on_failure
from .proxied import check_proxied
from .settings import PROFILES_VARIABLE, Settings, SettingsError, from_environment
from .translation.config import ClaudeCodeConfig
from .translation.request import GivenCall, to_request
from .translation.response import merge_choices

if TYPE_CHECKING:
    from .agents.profile import Profile
    from .pool.pool import Pool
    from .process.whoami import Identity
    from .selfcheck import Report

_MISSPELT: Final = ("claude_code:", "claude-code:")


class ClaudeCodeProvider(CustomLLM):
    """litellm's handler for `claude_code/…`. Each Python process has one instance, which owns the loop and the pool.

    The four handlers take the arguments that litellm passes to every custom provider. `ClaudeCodeConfig` has already
    mapped `optional_params` to the Messages API. Errors are litellm's own exceptions.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._loop = BackgroundLoop()
        self._loop.at_exit(self._close_pool)
        self._loop.after_fork(self._disown_pool)
        self._pool: Pool | None = None

    def __deepcopy__(self, memo: object) -> ClaudeCodeProvider:
        return self

    def completion(self, **given: Any) -> ModelResponse:  # type: ignore[override]  # litellm passes by keyword only
        """Return the response, blocking the calling thread."""
        return self._loop.run(self._answer(self._to_request(**given)))

    def acompletion(self, **given: Any) -> Coroutine[Any, Any, ModelResponse]:  # type: ignore[override]
        """Return a coroutine for the response. litellm calls this in a separate thread, which does the translation."""
        request = self._to_request(**given)
        return LazyCoroutine(lambda: self._loop.arun(self._answer(request)))

    def streaming(self, **given: Any) -> Iterator[Chunk]:  # type: ignore[override]
        """Return an iterator of chunks, after waiting for the first one: an earlier error is raised here."""
        stream: SyncStream[Chunk] = self._loop.iterate(self._chunks(self._to_stream_request(**given)))
        stream.wait()
        return stream

    def astreaming(self, **given: Any) -> AsyncIterator[Chunk]:  # type: ignore[override]
        """Return an iterator of chunks for any event loop. The call has already started when this returns."""
        stream: AsyncStream[Chunk] = self._loop.aiterate(self._chunks(self._to_stream_request(**given)))
        return stream

    def warm_up(self, model: str, system: str | None = None, n: int = 1, **where: Any) -> None:
        """Boot `n` processes in advance, ready for calls with the system prompt `system`, or without one.

        A process can change its system prompt, but once it has had one it cannot serve calls without a system prompt.
        Pass the same `api_base` and `api_key` as in the later calls. Makes no model request.
        """
        self._loop.run(self._warm_up(model, system, n, **where))

    async def awarm_up(self, model: str, system: str | None = None, n: int = 1, **where: Any) -> None:
        """Async version of `warm_up`: does not block the caller's event loop."""
        await self._loop.arun(self._warm_up(model, system, n, **where))

    def stats(self) -> dict[str, Any]:
        """Return the pool's workers and counters; see `Pool.stats`. Empty if no pool was started yet; starts none."""
        pool = self._pool
        return pool.stats() if pool is not None else {}

    def rate_limit_status(self) -> dict[str, Any]:
        """Return the subscription limits that the CLI last reported; see `LimitStatus`. Makes no request."""
        pool = self._pool
        return dict(pool.admission.limits.status(now=time.time())) if pool is not None else {}

    def whoami(self, *, api_base: str | None = None, api_key: str | None = None) -> Identity:
        """Return which login would pay for a call, as reported by the CLI; see `Identity`. Makes no model request.

        Pass the same `api_base` and `api_key` as in the call. Raises `litellm.AuthenticationError` if such a call would
        be refused before anything is sent.
        """
        return self._loop.run(self._identify(api_base=api_base, api_key=api_key))

    async def awhoami(self, *, api_base: str | None = None, api_key: str | None = None) -> Identity:
        """Async version of `whoami`: does not block the caller's event loop."""
        return await self._loop.arun(self._identify(api_base=api_base, api_key=api_key))

    def self_check(self) -> Report:
        """Test on loopback that the CLI behaves as this package needs; see `selfcheck/`. Takes a second or two.

        Calls run this check automatically for a CLI that was not checked before. This method always runs it.
        """
        return self._loop.run(self._self_check())

    def profile(self, name: str, **fields: Any) -> Profile:
        """Define an agent for `model="claude_code/<model>@<name>"`, replacing any profile of that name.

        `fields` are the fields of `Profile`. Raises `ProfileError`, with one sentence for each mistake: unknown or
        invalid fields, a folder that does not exist, or an MCP server that does not start (each is started once as a
        test).
        """
        from .agents.profile import Profile

        made = Profile.checked(name=name, **fields)
        self._define([made])
        return made

    def load_profiles(self, path: str | os.PathLike[str]) -> list[Profile]:
        """Define the agents in a TOML file and return their profiles. Raises `ProfileError`, as `profile` does."""
        from .agents.registry import read_profiles

        made = read_profiles(path)
        self._define(made)
        return made

    def _define(self, profiles: list[Profile]) -> None:
        from .agents.process import check_servers
        from .agents.registry import add

        if any(each.mcp_servers for each in profiles):
            self._loop.run(check_servers(profiles, settings=self._current_settings()))
        for each in profiles:
            add(each)

    def close(self) -> None:
        """Stop every Claude Code process. The next call starts a new pool."""
        self._loop.stop()

    async def aclose(self) -> None:
        """Async version of `close`: does not block the caller's event loop."""
        await asyncio.get_running_loop().run_in_executor(None, self._loop.stop)

    def _to_request(self, **given: Any) -> Request:
        observer = current()
        with notify_on_failure(observer), bugs_reported(given["model"]):
            return self._translate(observer=observer, **given)

    def _translate(
        self,
        *,
        observer: Observer,
        model: str,
        messages: list[Any],
        optional_params: Mapping[str, Any],
        litellm_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        api_key: str | None = None,
        api_base: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        **_unused: Any,
    ) -> Request:
        base_model, profile_name = models.split_profile(model)
        check_proxied(optional_params if profile_name is None else {}, litellm_params or {}, model=model)
        settings = self._current_settings()
        with without_context():
            given = GivenCall(
                model=model,
                base_model=base_model,
                messages=messages,
                optional_params=optional_params,
                litellm_params=litellm_params or {},
                headers=headers or {},
                login=choose_login(api_key=api_key, api_base=api_base, settings=settings, model=model),
                timeout_s=timeout.read if isinstance(timeout, httpx.Timeout) else timeout,
                observer=observer,
            )
            if profile_name is None:
                return to_request(given)
            from .agents.request import to_agent_request  # imports the SDK

            return to_agent_request(given, profile_name=profile_name)

    def _to_stream_request(self, **given: Any) -> Request:
        _finalize_quietly(given.get("logging_obj"))
        request = self._to_request(**given)
        if request.n > 1:
            raise unsupported(
                "n>1 cannot be streamed: litellm's streams end at the first choice that does. Leave out `stream`, or "
                "make one call for each answer.",
                model=request.model,
            )
        return request

    async def _warm_up(
        self, model: str, system: str | None, n: int, *, api_base: str | None = None, api_key: str | None = None
    ) -> None:
        settings = self._current_settings()
        login = choose_login(api_key=api_key, api_base=api_base, settings=settings, model=model)
        models.resolve(model.removeprefix(f"{PROVIDER}/"), any_id=login.is_elsewhere)
        try:
            await (await self._checked_pool(None)).warm_up(login, system=system, n=n)
        except CallFailed as failed:
            raise to_litellm(failed, model=model, payer=login.payer) from failed

    async def _identify(self, *, api_base: str | None, api_key: str | None) -> Identity:
        from .process.whoami import identify  # imports the SDK, as the pool does

        settings = self._current_settings()
        login = choose_login(api_key=api_key, api_base=api_base, settings=settings, model=PROVIDER)
        try:
            limits = self._current_pool().admission.limits.status(login, now=time.time())
            return await identify(login, settings=settings, overage=limits["overage"])
        except CallFailed as failed:
            raise to_litellm(failed, model=PROVIDER, payer=login.payer) from failed

    async def _self_check(self) -> Report:
        from .selfcheck import self_check  # imports the SDK, as the pool does

        self._current_pool()  # closing the pool also removes the working folder of the check's processes
        return await self_check(self._current_settings())

    async def _answer(self, request: Request) -> ModelResponse:
        observer = request.observer
        with call_scope(observer, model=request.model, n=request.n), bugs_reported(request.model):
            try:
                responses = await self._answers(request)
                with translating_an_answer():
                    response = merge_choices(responses)
            except CallFailed as failed:
                raise self._as_litellm_error(failed, request) from failed
        observer.answered(getattr(response, "usage", None))
        return response

    async def _answers(self, request: Request) -> list[ModelResponse]:
        """Make the `n` requests and return their responses.

        `timeout` limits the whole of it. It starts again when a wait for a limit's reset ends.
        """
        waits, timeout_s = Waits(request.observer), request.call.timeout_s

        def pause(number: int, left_s: float) -> None:
            is_paused = waits.note(number, left_s)
            scope.deadline = anyio.current_time() + (math.inf if is_paused or timeout_s is None else timeout_s)

        asking = [asyncio.ensure_future(self._fold(request, partial(pause, number))) for number in range(request.n)]
        try:
            with anyio.fail_after(timeout_s) as scope:
                return list(await asyncio.gather(*asking))
        except TimeoutError:
            raise timed_out(timeout_s) from None
        finally:
            for each in asking:
                each.cancel()

    @staticmethod
    def _as_litellm_error(failed: CallFailed, request: Request) -> Exception:
        error = to_litellm(failed, model=request.model, payer=request.call.login.payer)
        if isinstance(failed, RunFailed):
            error.provider_specific_fields = {"agent": failed.record}  # type: ignore[attr-defined]
        return error

    async def _fold(self, request: Request, waiting: Waiting) -> ModelResponse:
        pool = await self._checked_pool(request.call.timeout_s)
        events = [event async for event in request.events(pool, waiting)]
        with translating_an_answer():
            return request.response(events)

    async def _chunks(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the chunks. `timeout` limits the wait for each event, as it does for `anthropic/`."""
        observer, chunks = request.observer, request.chunks()
        waits = Waits(observer)
        with call_scope(observer, model=request.model, n=1), bugs_reported(request.model):
            try:
                pool = await self._checked_pool(request.call.timeout_s)
                async with aclosing(request.events(pool, partial(waits.note, 0))) as events:
                    async for event in events:
                        with translating_an_answer():
                            made = list(chunks.take(event))
                        for chunk in made:
                            yield chunk
            except CallFailed as failed:
                raise self._as_litellm_error(failed, request) from failed
        observer.answered(chunks.usage)

    async def _checked_pool(self, timeout_s: float | None) -> Pool:
        """Return the pool, after a self-check if this CLI has not passed one yet (`selfcheck/`).

        Raises `CallFailed` if the CLI does not pass, or if the self-check takes longer than `timeout_s`.
        """
        from .selfcheck import ensure_checked  # imports the SDK, as the pool does

        pool = self._current_pool()
        if pool.settings.self_check:
            try:
                with anyio.fail_after(timeout_s):
                    await ensure_checked(pool.settings)
            except TimeoutError:
                raise timed_out(timeout_s) from None
        return pool

    def _current_pool(self) -> Pool:
        if self._loop.is_ending_here():  # processes started now would never be stopped
            raise closed()
        if self._pool is None:
            from .pool.pool import Pool  # here, because the SDK takes half a second to import

            self._pool = Pool(self._current_settings())
        return self._pool

    def _current_settings(self) -> Settings:
        try:
            return self._settings or from_environment()
        except SettingsError as error:
            raise bad_request(str(error), model=PROVIDER) from None

    def _disown_pool(self) -> Pool | None:
        """Leave the processes to the parent, in a forked child. The child's next call starts its own pool."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.disown()
        return pool

    async def _close_pool(self) -> None:
        if self._pool is not None:
            from .process.folders import remove_private_folder  # already imported with the pool

            pool, self._pool = self._pool, None
            await pool.aclose()
            remove_private_folder()


provider: Final = ClaudeCodeProvider()


def register() -> None:
    """Register `claude_code/` with litellm. Starts no process, thread or connection.

    Can be called again, for example after user code has replaced litellm's tables.
    """
    known = [item for item in litellm.custom_provider_map if item["provider"] != PROVIDER]
    litellm.custom_provider_map = [*known, {"provider": PROVIDER, "custom_handler": provider}]
    custom_llm_setup()  # type: ignore[no-untyped-call]
    _register_config()
    models.register_models()
    if os.environ.get(PROFILES_VARIABLE):
        from .agents.registry import load_from_environment  # imports the SDK

        load_from_environment()
    # litellm rejects `claude_code:sonnet` before it calls a provider. These aliases make the call reach this provider,
    # whose error names the correct spelling.
    for prefix in _MISSPELT:
        for name in models.names():
            litellm.model_alias_map.setdefault(f"{prefix}{name}", f"{PROVIDER}/{prefix}{name}")


def _register_config() -> None:
    """Make litellm map this provider's parameters with `ClaudeCodeConfig`.

    litellm 1.106.2 has no hook for this: it looks up providers in an enum and their configs in a table. All changes to
    litellm's internals are in this function and the next, and tests cover them.
    """
    if PROVIDER not in LlmProvidersSet:
        member = str.__new__(LlmProviders, PROVIDER)
        member._name_, member._value_ = "CLAUDE_CODE", PROVIDER
        LlmProviders._member_map_[member._name_] = member
        LlmProviders._value2member_map_[PROVIDER] = member
        LlmProviders._member_names_.append(member._name_)
        LlmProvidersSet.add(PROVIDER)
    if ProviderConfigManager._PROVIDER_CONFIG_MAP is None:
        ProviderConfigManager._PROVIDER_CONFIG_MAP = ProviderConfigManager._build_provider_config_map()
    ProviderConfigManager._PROVIDER_CONFIG_MAP[LlmProviders(PROVIDER)] = (ClaudeCodeConfig, False)


def _finalize_quietly(logging: Any) -> None:
    """Prevent litellm's stream wrapper from setting context variables when it is garbage-collected.

    The finalizer in litellm 1.106.2 restores the ids for correlated logs, even if that option is off. CPython
    before 3.12 can collect garbage in the middle of `ContextVar.set`, and a finalizer that sets a context variable then
    crashes the process (https://github.com/python/cpython/issues/148891). This has crashed a server.
    """
    if logging is not None and not litellm.request_correlation_in_logs:
        logging._own_trace_id = None  # litellm sets the variable only if it holds this value, and it never holds None
