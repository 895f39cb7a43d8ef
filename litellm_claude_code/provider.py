"""The litellm provider: four handlers, and what users call on the provider itself.

litellm has already mapped a request's parameters when it calls a handler. The handler checks and translates the request
in the caller's thread (`translation/`), the pool serves it on the background loop (`pool/`), and the caller receives a
response or chunks (`answering.py`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx
import litellm
from litellm.exceptions import AuthenticationError, BadRequestError
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import ModelResponse

from . import _litellm, models
from .accounting.default import default_observer, observed_call
from .accounting.observed import ObservedCall
from .accounting.own_run import begin_own_run
from .accounting.run import Run, tracked
from .answering import answer, checked, stream
from .auth import DEFAULT_BASE_URL, choose_login
from .background_loop import AsyncStream, BackgroundLoop, LazyCoroutine, SyncStream
from .call import Chunk, Request
from .cli_protocol import BASE_URL
from .cloud_aliases import with_known
from .clouds import names_a_cloud
from .errors import (
    CallFailed,
    bad_request,
    bugs_reported,
    closed,
    to_litellm,
    translating_a_request,
    unsupported,
)
from .login import Login, without_password
from .models import PROVIDER
from .observer import NOBODY, Observer, current, notify_on_failure
from .proxied import check_proxied
from .registration import register_handler
from .settings import Settings, SettingsError, from_environment
from .translation.request import GivenCall, to_request

if TYPE_CHECKING:
    from .agents.profile import Profile
    from .pool.pool import Pool
    from .process.aliases import Aliases
    from .process.whoami import Identity
    from .selfcheck import Report


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
        self._loop.after_fork(self._detach_pool)
        self._pool: Pool | None = None
        self._aliases: Aliases | None = None

    def __deepcopy__(self, memo: object) -> ClaudeCodeProvider:
        return self

    def completion(self, **given: Any) -> ModelResponse:  # type: ignore[override]  # litellm passes by keyword only
        """Return the response, blocking the calling thread."""
        request = self._to_request(**given)
        response = self._loop.run(answer(request, self._current_pool))
        self._log(response, request, **given)
        return response

    def acompletion(self, **given: Any) -> Coroutine[Any, Any, ModelResponse]:  # type: ignore[override]
        """Return a coroutine for the response. litellm calls this in a separate thread, which does the translation."""
        request = self._to_request(**given)

        async def answered() -> ModelResponse:
            response = await self._loop.arun(answer(request, self._current_pool))
            self._log(response, request, **given)
            return response

        return LazyCoroutine(answered)

    def streaming(self, **given: Any) -> Iterator[Chunk]:  # type: ignore[override]
        """Return an iterator of chunks, after waiting for the first one: an earlier error is raised here."""
        request = self._to_stream_request(**given)
        chunks = SyncStream(self._loop, stream(request, self._current_pool))
        chunks.wait()
        self._log(chunks, request, **given)
        return chunks

    def astreaming(self, **given: Any) -> AsyncIterator[Chunk]:  # type: ignore[override]
        """Return an iterator of chunks for any event loop. The call has already started when this returns."""
        request = self._to_stream_request(**given)
        chunks = AsyncStream(self._loop, stream(request, self._current_pool))
        self._log(chunks, request, **given)
        return chunks

    def embedding(self, model: str, *_given: Any, **_more: Any) -> Any:
        """Raise `BadRequestError`. litellm would raise a server error, which it retries."""
        raise bad_request("Claude has no embeddings. Use a model of another provider for them.", model=model)

    async def aembedding(self, model: str, *_given: Any, **_more: Any) -> Any:
        """Raise `BadRequestError`, as `embedding` does."""
        self.embedding(model)

    def image_generation(self, model: str, *_given: Any, **_more: Any) -> Any:
        """Raise `BadRequestError`. litellm would raise a server error, which it retries."""
        raise bad_request("Claude makes no images. Use a model of another provider for them.", model=model)

    async def aimage_generation(self, model: str, *_given: Any, **_more: Any) -> Any:
        """Raise `BadRequestError`, as `image_generation` does."""
        self.image_generation(model)

    image_edit = image_generation
    aimage_edit = aimage_generation

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

    def track_run(self, *, progress: bool = False) -> AbstractContextManager[Run]:
        """Record all `claude_code/…` calls that this process makes in the `with` block, even if it raises.

        `progress` shows calls, dollars and tokens during the run. Runs may be nested; each records everything within.
        """
        return tracked(Run(pool_stats=self.stats, progress=progress))

    def begin_run(self) -> None:
        """Begin the run of this process, if the settings ask for one. Calls report an invalid setting."""
        with suppress(BadRequestError):
            begin_own_run(self._current_settings())

    def observed_call(self, model: str, **more: Any) -> ObservedCall:
        """Return an observer for one call of an LM, which charges the run that this process belongs to.

        `more` are fields of `ObservedCall`. Raises `litellm.BadRequestError` for an invalid setting.
        """
        return observed_call(model, settings=self._current_settings(), pool_stats=self.stats, **more)

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
        if observer is NOBODY:
            observer = default_observer(given["model"], settings=self._current_settings(), pool_stats=self.stats)
        with notify_on_failure(observer), bugs_reported(given["model"]):
            request = self._translate(observer=observer, **given)
        _litellm.log_request(
            given.get("logging_obj"),
            messages=given["messages"],
            body=request.body,
            url=request.call.login.messages_url,
            api_key=given.get("api_key"),
        )
        return request

    @staticmethod
    def _log(
        response: object, request: Request, *, messages: list[Any], logging_obj: Any = None, **_given: Any
    ) -> None:
        _litellm.log_response(logging_obj, response, messages=messages, body=request.body)

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
        with translating_a_request(model):
            given = GivenCall(
                model=model,
                base_model=base_model,
                messages=messages,
                optional_params=optional_params,
                litellm_params=litellm_params or {},
                headers=headers or {},
                login=self._login(api_key=api_key, api_base=api_base, settings=settings, model=model),
                leaves_out=settings.drop_params,
                timeout_s=timeout.read if isinstance(timeout, httpx.Timeout) else timeout,
                observer=observer,
            )
            if profile_name is None:
                return to_request(given)
            from .agents.request import to_agent_request  # imports the SDK

            return to_agent_request(given, profile_name=profile_name)

    def leaves_out(self) -> bool:
        """Return whether the settings say to leave out parameters that a model does not take."""
        with suppress(BadRequestError):  # the call itself raises it
            return self._current_settings().drop_params
        return False

    def answerer(self, *, api_base: str | None = None, api_key: str | None = None) -> str:
        """Return a name for the service that answers a call with these arguments; see `Login.answerer`."""
        try:
            settings = self._current_settings()
            return choose_login(api_key=api_key, api_base=api_base, settings=settings, model=PROVIDER).answerer
        except (AuthenticationError, BadRequestError):  # the call itself raises it, unless something answers it for us
            return without_password(api_base or os.environ.get(BASE_URL) or DEFAULT_BASE_URL)

    def claude_behind(self, name: str, *, may_ask: bool) -> str:
        """Return Anthropic's id of the Claude model that a name means if the call names no service of its own.

        For a name that is not known, return the name. On a cloud, the CLI has to be asked once a day what its aliases
        mean; without `may_ask` they then mean what they mean at Anthropic.
        """
        if not names_a_cloud(os.environ):  # litellm asks for this several times a call
            return models.resolve(models.split_profile(name)[0], any_id=True)
        login = None
        with suppress(AuthenticationError, BadRequestError):  # the call itself raises it, unless it names a service
            settings = self._current_settings()
            login = choose_login(api_key=None, api_base=None, settings=settings, model=name)
        if login is not None and login.cloud:
            unknown = replace(login, models=tuple(models.ALIASES.items()))
            login = self._with_aliases(login, settings, model=name) if may_ask else with_known(login) or unknown
        model = models.resolve(models.split_profile(name)[0], login=login, any_id=True)
        return (models.claude_behind(model, login) if login is not None and login.cloud else None) or model

    def _login(self, *, api_key: str | None, api_base: str | None, settings: Settings, model: str) -> Login:
        login = choose_login(api_key=api_key, api_base=api_base, settings=settings, model=model)
        return self._with_aliases(login, settings, model=model)

    def _with_aliases(self, login: Login, settings: Settings, *, model: str) -> Login:
        """Return the login with what the CLI's aliases mean on its cloud. Blocks if the CLI has to be asked."""
        if login.cloud is None:
            return login
        if (known := with_known(login)) is not None:
            return known
        try:
            return self._loop.run(self._complete(login, settings))
        except CallFailed as failed:
            raise to_litellm(failed, model=model, login=login) from failed

    async def _complete(self, login: Login, settings: Settings) -> Login:
        if login.cloud is None:
            return login
        self._current_pool()  # closing the pool also removes the folder that the process needs
        if self._aliases is None:
            from .process.aliases import Aliases  # imports the SDK, as the pool does

            self._aliases = Aliases()
        return await self._aliases.complete(login, settings=settings)

    def _to_stream_request(self, **given: Any) -> Request:
        _litellm.finalize_quietly(given.get("logging_obj"))
        request = self._to_request(**given)
        if request.n > 1:
            raise unsupported(
                "Streaming does not support n>1, because litellm ends a stream at the first finished choice. Leave out "
                "`stream`, or make one call per answer.",
                model=request.model,
            )
        return request

    async def _warm_up(
        self, model: str, system: str | None, n: int, *, api_base: str | None = None, api_key: str | None = None
    ) -> None:
        settings = self._current_settings()
        login = choose_login(api_key=api_key, api_base=api_base, settings=settings, model=model)
        try:
            login = await self._complete(login, settings)
            models.resolve(model.removeprefix(f"{PROVIDER}/"), login=login)
            pool = await checked(self._current_pool(), timeout_s=None)
            await pool.warm_up(login, system=system, n=n)
        except CallFailed as failed:
            raise to_litellm(failed, model=model, login=login) from failed

    async def _identify(self, *, api_base: str | None, api_key: str | None) -> Identity:
        from .process.whoami import identify  # imports the SDK, as the pool does

        settings = self._current_settings()
        login = choose_login(api_key=api_key, api_base=api_base, settings=settings, model=PROVIDER)
        try:
            login = await self._complete(login, settings)
            limits = self._current_pool().admission.limits.status(login, now=time.time())
            return await identify(login, settings=settings, overage=limits["overage"])
        except CallFailed as failed:
            raise to_litellm(failed, model=PROVIDER, login=login) from failed

    async def _self_check(self) -> Report:
        from .selfcheck.run import self_check  # imports the SDK, as the pool does

        self._current_pool()  # closing the pool also removes the working folder of the check's processes
        return await self_check(self._current_settings())

    def _current_pool(self) -> Pool:
        if self._loop.is_ending_here():  # processes started now would never be stopped
            raise closed()
        if self._pool is None:
            from .pool.pool import Pool  # here, because only calls need it

            self._pool = Pool(self._current_settings())
        return self._pool

    def _current_settings(self) -> Settings:
        try:
            return self._settings or from_environment()
        except SettingsError as error:
            raise bad_request(str(error), model=PROVIDER) from None

    def _detach_pool(self) -> Pool | None:
        """Leave the processes to the parent, in a forked child. The child's next call starts its own pool."""
        pool, self._pool = self._pool, None
        self._aliases = None
        if pool is not None:
            pool.detach_after_fork()
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
    register_handler(provider, find_claude=provider.claude_behind, leaves_out=_leaves_out)


def _leaves_out() -> bool:
    """Ask the provider that litellm has: a program can register one with settings of its own."""
    handlers = (item["custom_handler"] for item in litellm.custom_provider_map if item["provider"] == PROVIDER)
    return any(isinstance(handler, ClaudeCodeProvider) and handler.leaves_out() for handler in handlers)
