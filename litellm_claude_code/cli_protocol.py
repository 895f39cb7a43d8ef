"""What this package uses of the Claude Code CLI: variables, flags, control requests and commands.

None of it is documented for this use. Each row says what the name does for this package, and in which CLI version that
was seen. To use one more switch, add a row, and take its name from here. tests/test_cli_protocol.py keeps the tables in
docs/how-it-works.md equal to these, and the names out of all other modules.

Imports no other module of this package, so that every module can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

Frame = dict[str, Any]
"""A line of JSON on a process's stdin or stdout."""

_SEEN_IN: Final = "2.1.327"


class Name(str):
    """A name that the CLI knows. It is a `str`: use it wherever the name itself is needed."""

    does: str
    """One sentence on what it does for this package."""
    seen_in: str
    """The CLI version in which that was seen."""

    def __new__(cls, name: str, does: str, *, seen_in: str = _SEEN_IN, **more: Any) -> Name:
        made = super().__new__(cls, name)
        made.does, made.seen_in = does, seen_in
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a copy is a plain `str`


class Variable(Name):
    """An environment variable."""

    def __init__(
        self,
        name: str,
        does: str,
        *,
        worker: str | None = None,
        agent: str | None = None,
        is_inherited: bool = False,
        seen_in: str = _SEEN_IN,
    ) -> None:
        self.worker = worker
        """The value in a worker's process when it starts. None: not set, or set from the login."""
        self.agent = agent
        """The value in an agent's process. None: not set, or set from the login or the profile."""
        self.is_inherited = is_inherited
        """Whether a process inherits it from this Python process."""


class Flag(Name):
    """A command line flag of a worker. An agent's flags follow from its profile: see `agents/options.py`."""

    def __init__(self, name: str, does: str, *, argument: str | None = None, seen_in: str = _SEEN_IN) -> None:
        self.argument = argument
        """What follows the flag, as the SDK writes it (tests/test_sdk_seam.py): "" is empty, "=" is joined to it."""

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that this flag adds to the command line."""
        if self.argument is None:
            return (str(self),)
        return (f"{self}=",) if self.argument == "=" else (str(self), self.argument)


class ControlRequest(Name):
    """The `subtype` of a control request on stdin."""


class Command(Name):
    """A command: in a conversation, or on the command line."""


Row = TypeVar("Row", bound=Name)


# The caller's request and nothing else: no other requests, no additions, no retries, no hidden fallbacks.
DISABLE_NONESSENTIAL_TRAFFIC = Variable(
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "No telemetry, update checks and other requests. Off for a moment to ask for the subscription's usage.",
    worker="1",
    agent="1",
)
DISABLE_TERMINAL_TITLE = Variable(
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE", "Does not ask the model for a title.", worker="1", agent="1"
)
DISABLE_EXPERIMENTAL_BETAS = Variable(
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS",
    "No experimental betas, which add fields to a body; with them, the CLI repeats a request after a 400.",
    worker="1",
    agent="1",
)
DISABLE_ATTACHMENTS = Variable("CLAUDE_CODE_DISABLE_ATTACHMENTS", "Adds nothing to the messages.", worker="1")
DISABLE_NONSTREAMING_FALLBACK = Variable(
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "Does not repeat a request whose stream was cut off.", worker="1"
)
DISABLE_REFUSAL_FALLBACK = Variable(
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK", "Does not ask another model after a refusal.", worker="1", agent="1"
)
DISABLE_THINKING = Variable("CLAUDE_CODE_DISABLE_THINKING", "No `thinking` unless the body has it.", worker="1")
EFFORT_LEVEL = Variable(
    "CLAUDE_CODE_EFFORT_LEVEL", "No effort unless the call has one. Set for each call.", worker="unset"
)
MAX_OUTPUT_TOKENS = Variable(
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "Limits a worker's request of the CLI's own, because a call's body overrides it. For an agent, the call's "
    "`max_tokens`.",
    worker="1",
)
MAX_RETRIES = Variable("CLAUDE_CODE_MAX_RETRIES", "No retries. For an agent, the profile's `max_retries`.", worker="0")
DISABLE_PROMPT_CACHING = Variable(
    "DISABLE_PROMPT_CACHING", "No cache marks unless the call asks for them. Set for each call.", worker="1"
)
PROMPT_CACHE_TTL = Variable("CLAUDE_CODE_PROMPT_CACHE_TTL", "The lifetime of the CLI's cache marks. Set for each call.")
ENABLE_TOOL_SEARCH = Variable("ENABLE_TOOL_SEARCH", "Adds nothing to the tools.", worker="false", agent="false")
SDK_READS_SESSION_STATE = Variable(
    "CLAUDE_CODE_SDK_READS_SESSION_STATE", "Does not send frames that are not used here.", worker="", agent=""
)
BYTE_STREAM_IDLE_TIMEOUT_MS = Variable(
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS",
    "The CLI's limit on the wait between events. A last resort (1 h): the call's `timeout` is the limit.",
    worker="3600000",
)
API_TIMEOUT_MS = Variable("API_TIMEOUT_MS", "Raises the CLI's limit on a request for a call with a longer `timeout`.")
EXTRA_BODY = Variable(
    "CLAUDE_CODE_EXTRA_BODY", "The body that replaces the CLI's. Set for each call, and replaced after it."
)

# What a process of many short calls needs.
JIT_POLICY_AFTER_STARTUP = Variable(
    "CLAUDE_CODE_JIT_POLICY_AFTER_STARTUP",
    "Keeps the CLI from compiling more of its own code ten seconds after its start: that takes 30 MB, and "
    "gains nothing.",
    worker="10",
)

# An agent is the normal Claude Code, with its own loop, thinking and caching, without what a caller does not use.
DISABLE_BACKGROUND_TASKS = Variable("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "No work in the background.", agent="1")
DISABLE_AUTO_MEMORY = Variable("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "Writes no memories.", agent="1")
DISABLE_BUNDLED_SKILLS = Variable(
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "No skills of the CLI's own for an agent whose profile has none."
)
SKIP_MCP_DEBUG_LOG_FILES = Variable(
    "CLAUDE_CODE_SKIP_MCP_DEBUG_LOG_FILES", "Writes no log files about MCP servers.", agent="1"
)

# Who pays, and where requests go.
HOST_AUTH_ENV_VAR = Variable(
    "CLAUDE_CODE_HOST_AUTH_ENV_VAR",
    "The parent process decides on payment: the CLI ignores hosts, keys, tokens and headers from every source of "
    "settings, including Anthropic's service and `.claude.json`, but still applies proxies and TLS files. Names a "
    "variable that is never set, so the CLI uses its login as before.",
)
BASE_URL = Variable("ANTHROPIC_BASE_URL", "The host of a gateway.")
API_KEY = Variable("ANTHROPIC_API_KEY", "The key that pays.")
AUTH_TOKEN = Variable("ANTHROPIC_AUTH_TOKEN", "The bearer token of a gateway.")
OAUTH_TOKEN = Variable("CLAUDE_CODE_OAUTH_TOKEN", "The token of `claude setup-token` that pays.")
USE_BEDROCK = Variable("CLAUDE_CODE_USE_BEDROCK", "Amazon Bedrock serves the models. Inherited with a cloud's login.")
USE_VERTEX = Variable("CLAUDE_CODE_USE_VERTEX", "Google Vertex AI serves the models. Inherited with a cloud's login.")
USE_FOUNDRY = Variable(
    "CLAUDE_CODE_USE_FOUNDRY", "Microsoft Foundry serves the models. Inherited with a cloud's login."
)
_A_FAMILYS_ID = "The id of the family on a cloud. If sonnet, opus and haiku have one, the CLI does not probe models."
DEFAULT_SONNET_MODEL = Variable("ANTHROPIC_DEFAULT_SONNET_MODEL", _A_FAMILYS_ID)
DEFAULT_OPUS_MODEL = Variable("ANTHROPIC_DEFAULT_OPUS_MODEL", _A_FAMILYS_ID)
DEFAULT_HAIKU_MODEL = Variable("ANTHROPIC_DEFAULT_HAIKU_MODEL", _A_FAMILYS_ID)
DEFAULT_FABLE_MODEL = Variable(
    "ANTHROPIC_DEFAULT_FABLE_MODEL", "The id of the family on a cloud. Inherited with a cloud's login."
)
CONFIG_DIR = Variable("CLAUDE_CONFIG_DIR", "Where the CLI has its configuration and login.", is_inherited=True)
SECURESTORAGE_CONFIG_DIR = Variable(
    "CLAUDE_SECURESTORAGE_CONFIG_DIR", "Where the CLI keeps its login, if elsewhere.", is_inherited=True
)
CLIENT_CERT = Variable("CLAUDE_CODE_CLIENT_CERT", "A client certificate for TLS.", is_inherited=True)
CLIENT_KEY = Variable("CLAUDE_CODE_CLIENT_KEY", "The certificate's key.", is_inherited=True)
CLIENT_KEY_PASSPHRASE = Variable("CLAUDE_CODE_CLIENT_KEY_PASSPHRASE", "The key's passphrase.", is_inherited=True)

# What the SDK would set, too.
ENTRYPOINT = Variable("CLAUDE_CODE_ENTRYPOINT", "Says that the Python SDK drives the CLI.")
SDK_VERSION = Variable("CLAUDE_AGENT_SDK_VERSION", "Says which version of the SDK.")
TMPDIR = Variable("CLAUDE_CODE_TMPDIR", "Where the CLI has its temporary files: a folder of this Python process.")

OUTPUT_FORMAT = Flag("--output-format", "Frames of JSON on stdout.", argument="stream-json")
VERBOSE = Flag("--verbose", "Needed together with `--output-format`.")
SYSTEM_PROMPT = Flag("--system-prompt", "None at the start; a call's follows in `set_model`.", argument="")
TOOLS = Flag("--tools", "No tools of the CLI's own.", argument="")
MAX_TURNS = Flag("--max-turns", "Ends the CLI's loop after one turn.", argument="1")
MAX_BUDGET_USD = Flag(
    "--max-budget-usd",
    "Ends the turn after the first response, which costs more than this: otherwise the CLI continues after "
    "`max_tokens`, and asks again after an empty answer.",
    argument="1e-09",
)
INCLUDE_PARTIAL_MESSAGES = Flag("--include-partial-messages", "The API's events as they arrive.")
STRICT_MCP_CONFIG = Flag("--strict-mcp-config", "No MCP servers of the user's.")
SETTING_SOURCES = Flag(
    "--setting-sources", "No settings, `CLAUDE.md` and hooks of the user or a project.", argument="="
)
NO_SESSION_PERSISTENCE = Flag("--no-session-persistence", "Writes no transcript.")
SYSTEM_PROMPT_SNAPSHOT = Flag(
    "--system-prompt-snapshot",
    "The CLI may record the first system prompt and repeat it, but here each call has its own.",
    argument="off",
)
INPUT_FORMAT = Flag("--input-format", "Frames of JSON on stdin.", argument="stream-json")

INITIALIZE = ControlRequest(
    "initialize",
    "The handshake, sent by the SDK. Reports the account and the models. For an agent, the system prompt, the answer's "
    "schema, hooks and subagents are added.",
)
GET_SETTINGS = ControlRequest("get_settings", "Reports the settings in force and their sources, to refuse some.")
APPLY_FLAG_SETTINGS = ControlRequest(
    "apply_flag_settings", "Sets the model and variables for the next request. Settings merge."
)
SET_MODEL = ControlRequest(
    "set_model",
    "Sets the system prompt. Names the current model, and `only_if_model_is_current`: for another one the CLI makes a "
    "probe request.",
)
INTERRUPT = ControlRequest("interrupt", "Stops the running turn. Ignored before the turn has begun.")
REWIND_CONVERSATION = ControlRequest(
    "rewind_conversation", "Removes `/clear` from the conversation, which is then as that of a fresh process."
)
GET_USAGE = ControlRequest("get_usage", "Reports how much of the subscription's limits is used.")
MCP_STATUS = ControlRequest("mcp_status", "Reports whether an agent's MCP servers have started.")

CLEAR = Command("/clear", "As a user message: empties the conversation after a call.")
AUTH_STATUS = Command("auth status", "On the command line: prints the account that would pay.")


def _all(kind: type[Row]) -> tuple[Row, ...]:
    return tuple(name for name in globals().values() if isinstance(name, kind))


VARIABLES: Final = _all(Variable)
FLAGS: Final = _all(Flag)
CONTROL_REQUESTS: Final = _all(ControlRequest)
COMMANDS: Final = _all(Command)

DEFAULT_MODELS: Final[Mapping[str, Variable]] = {
    "sonnet": DEFAULT_SONNET_MODEL,
    "opus": DEFAULT_OPUS_MODEL,
    "haiku": DEFAULT_HAIKU_MODEL,
    "fable": DEFAULT_FABLE_MODEL,
}
"""The families of models, each with the variable that names its id."""
WORKER_ENVIRONMENT: Final[Mapping[str, str]] = {name: name.worker for name in VARIABLES if name.worker is not None}
"""The variables of a worker's process with the values that it starts with, besides those of its login."""
AGENT_ENVIRONMENT: Final[Mapping[str, str]] = {name: name.agent for name in VARIABLES if name.agent is not None}
"""The variables of every agent's process, besides those of its login and its profile."""
WORKER_ARGUMENTS: Final[tuple[str, ...]] = tuple(word for flag in FLAGS for word in flag.words)
"""The command line of a worker's process, without the program."""
