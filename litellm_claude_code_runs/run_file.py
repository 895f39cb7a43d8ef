"""The file of a run: what all processes of the run share.

It holds the ledgers, the record of each call, and why the run was halted. Numbers and names of models and errors only:
no prompt, answer or key. The variable `LITELLM_CLAUDE_CODE_RUN` names it, so that processes inherit it.

It is an SQLite database: each change is one short transaction, and a process that is killed leaves it intact.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from .halt import RunHalted
from .ledger import Ledger, Line, Spending, exceeded, total
from .report import CallRecord, Report
from .scores import Score
from .usage import Used

if TYPE_CHECKING:
    from .budget import Budget

RUN_VARIABLE: Final = "LITELLM_CLAUDE_CODE_RUN"
_BUSY_TIMEOUT_S: Final = 10.0
_CLOCK_CHANGES_S: Final = 60.0
"""The start of a process is known on the wall clock, which may be set while the process runs."""
_SCHEMA: Final = """
CREATE TABLE run (began_at REAL NOT NULL, pid INTEGER NOT NULL, halt TEXT, answered_by TEXT);
CREATE TABLE ledgers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, began_at REAL);
CREATE TABLE spent (
    ledger INTEGER, model TEXT, requests INTEGER DEFAULT 0, tokens INTEGER DEFAULT 0, usd REAL DEFAULT 0,
    PRIMARY KEY (ledger, model)
);
CREATE TABLE flights (
    ledger INTEGER, model TEXT, process TEXT, requests INTEGER DEFAULT 0, PRIMARY KEY (ledger, model, process)
);
CREATE TABLE calls (
    id TEXT PRIMARY KEY, process TEXT NOT NULL, record TEXT NOT NULL, failures INTEGER NOT NULL
);
CREATE TABLE scores (at_s REAL NOT NULL, score REAL NOT NULL, examples INTEGER NOT NULL);
CREATE TABLE processes (process TEXT PRIMARY KEY, boots INTEGER NOT NULL, waited_s REAL NOT NULL);
"""
KILLED: Final = "ProcessEnded"
"""The error of a call whose process ended before the call did."""


class RunFile:
    """The file of a run, open in this process. Thread-safe, and usable in forked children.

    Every method raises `RunHalted` if the run is over and its file is gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def create(cls, *, answered_by: str | None = None) -> RunFile:
        """Create the file of a new run, in a private folder. If `answered_by` is given, the report names it."""
        path = Path(tempfile.mkdtemp(prefix="litellm-claude-code-run-")) / "run.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite's other files get this mode, too
        run = cls(path)
        with run._lock:
            connection = run._connect()
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO run VALUES (?, ?, NULL, ?)", (time.monotonic(), os.getpid(), answered_by))
        return run

    def remove(self) -> None:
        """End the run: processes that outlive it are refused further calls, and the file is removed."""
        with suppress(RunHalted, sqlite3.Error):
            self.halt(_over())
        self.close()
        for path in sorted(self.path.parent.glob(f"{self.path.name}*")):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()

    def close(self) -> None:
        """Close the file in this process."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # Ledgers

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of this name; create an empty one if there is none."""
        with self._transaction() as database:
            row = database.execute("SELECT max(id) FROM ledgers WHERE name = ?", (name,)).fetchone()
            if row[0] is None:
                row = (database.execute("INSERT INTO ledgers (name) VALUES (?)", (name,)).lastrowid,)
        return _FileLedger(self, row[0])

    def forget(self, name: str) -> None:
        """Make the next call under this name start with an empty ledger."""
        with self._transaction() as database:
            database.execute("INSERT INTO ledgers (name) VALUES (?)", (name,))

    # Halts

    def halt(self, halted: RunHalted) -> None:
        """Refuse all further calls with this exception. Only the first halt counts."""
        with self._transaction() as database:
            database.execute("UPDATE run SET halt = ? WHERE halt IS NULL", (json.dumps(halted.args),))

    def halted(self) -> RunHalted | None:
        """Return the exception with which further calls are refused, or None if the run goes on."""
        with self._lock:
            (halt,) = self._connect().execute("SELECT halt FROM run").fetchone()
        return RunHalted(*json.loads(halt)) if halt is not None else None

    def began_by(self) -> int:
        """Return the id of the process that has begun the run."""
        with self._lock:
            (pid,) = self._connect().execute("SELECT pid FROM run").fetchone()
        return int(pid)

    # Records

    def note(self, call_id: str, record: CallRecord, *, began_at: float) -> None:
        """Save what is known about a call of this process. `began_at` is on the clock of `time.monotonic`."""
        with self._transaction() as database:
            (run_began_at,) = database.execute("SELECT began_at FROM run").fetchone()
            text = json.dumps(asdict(replace(record, began_s=began_at - run_began_at)))
            database.execute(
                "INSERT INTO calls VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET record = excluded.record, failures = excluded.failures",
                (call_id, _this_process(), text, record.retries + (record.error is not None)),
            )

    def note_pool(self, *, boots: int, waited_s: float) -> None:
        """Save the totals of this process's pool."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", (_this_process(), boots, waited_s))

    def note_score(self, score: float, examples: int) -> None:
        """Save the score that DSPy has given to a program on this many examples."""
        with self._transaction() as database:
            (run_began_at,) = database.execute("SELECT began_at FROM run").fetchone()
            at_s = time.monotonic() - run_began_at
            database.execute("INSERT INTO scores VALUES (?, ?, ?)", (at_s, score, examples))

    def scores(self) -> list[Score]:
        """Return the scores so far, of all processes."""
        with self._lock:
            rows = self._connect().execute("SELECT at_s, score, examples FROM scores ORDER BY rowid").fetchall()
        return [Score(at_s=at_s, score=score, examples=examples) for at_s, score, examples in rows]

    def failures(self) -> int:
        """Return how many attempts of calls have failed, with those that were repeated."""
        with self._lock:
            (failures,) = self._connect().execute("SELECT total(failures) FROM calls").fetchone()
        return int(failures)

    def flying_processes(self) -> set[int]:
        """Return the ids of the processes with requests in flight."""
        with self._lock:
            rows = self._connect().execute("SELECT DISTINCT process FROM flights WHERE requests > 0").fetchall()
        return {int(process.partition(":")[0]) for (process,) in rows}

    def report(self) -> Report:
        """Return the report of all processes up to now."""
        with self._transaction() as database:
            began_at, answered_by = database.execute("SELECT began_at, answered_by FROM run").fetchone()
            rows = database.execute("SELECT process, record FROM calls ORDER BY rowid").fetchall()
            boots, waited_s = database.execute("SELECT total(boots), total(waited_s) FROM processes").fetchone()
        is_alive = lru_cache(maxsize=None)(_is_alive)
        records = []
        for process, text in rows:
            record = CallRecord(**json.loads(text))
            if record.is_in_flight and not is_alive(process):
                record = replace(record, is_in_flight=False, error=KILLED)
            records.append(record)
        return Report(
            calls=sorted(records, key=lambda record: record.is_in_flight),
            elapsed_s=time.monotonic() - began_at,
            process_boots=int(boots),
            queue_wait_s=waited_s,
            answered_by=answered_by,
        )

    # The database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = sqlite3.connect(
                    f"{self.path.as_uri()}?mode=rw",
                    uri=True,
                    timeout=_BUSY_TIMEOUT_S,
                    isolation_level=None,
                    check_same_thread=False,
                )
            except sqlite3.OperationalError:
                raise _over() from None
            self._connection.execute("PRAGMA synchronous = OFF")  # a crash of the machine ends the run anyway
        return self._connection

    def _after_fork(self) -> sqlite3.Connection | None:
        """Open the file anew in a forked child, and return the parent's connection, which must not be used there."""
        parents, self._connection = self._connection, None
        self._lock = threading.RLock()
        return parents


class _FileLedger:
    """A ledger in the file of a run, shared by its processes."""

    def __init__(self, run: RunFile, number: int) -> None:
        self._run = run
        self._number = number

    def spending(self) -> Spending:
        with self._run._transaction() as database:
            self._settle_ended(database)
            return total(self._lines(database), time_s=self._time_s(database))

    def enter(self, budget: Budget | None, model: str, requests: int) -> str | None:
        with self._run._transaction() as database:
            now = time.monotonic()
            database.execute("UPDATE ledgers SET began_at = ? WHERE id = ? AND began_at IS NULL", (now, self._number))
            if budget is not None and self._exceeded(database, budget, model, requests) is not None:
                self._settle_ended(database)
                most = self._exceeded(database, budget, model, requests)
                if most is not None:
                    return most
            self._add_in_flight(database, model, requests)
            return None

    def leave(self, model: str, *, entered: int, made: int, used: Used) -> None:
        with self._run._transaction() as database:
            self._add_in_flight(database, model, -entered)
            self._spend(database, model, made, used)

    def _exceeded(self, database: sqlite3.Connection, budget: Budget, model: str, requests: int) -> str | None:
        return exceeded(budget, self._lines(database), model, requests, time_s=self._time_s(database))

    def _add_in_flight(self, database: sqlite3.Connection, model: str, requests: int) -> None:
        database.execute(
            "INSERT INTO flights VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
            (self._number, model, _this_process(), requests),
        )

    def _spend(self, database: sqlite3.Connection, model: str, requests: int, used: Used) -> None:
        database.execute(
            "INSERT INTO spent VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + "
            "excluded.requests, tokens = tokens + excluded.tokens, usd = usd + excluded.usd",
            (self._number, model, requests, used.tokens, used.usd),
        )

    def _settle_ended(self, database: sqlite3.Connection) -> None:
        """Take the requests of processes that have ended out of flight. They may have reached the API, so they count.

        What they used is not known.
        """
        flying = database.execute("SELECT DISTINCT process FROM flights WHERE ledger = ?", (self._number,)).fetchall()
        for (process,) in flying:
            if not _is_alive(process):
                mine = (self._number, process)
                where = "FROM flights WHERE ledger = ? AND process = ?"
                for model, requests in database.execute(f"SELECT model, requests {where}", mine).fetchall():
                    self._spend(database, model, requests, Used())
                database.execute(f"DELETE {where}", mine)

    def _lines(self, database: sqlite3.Connection) -> dict[str, Line]:
        lines: dict[str, Line] = {}
        spent = database.execute("SELECT model, requests, tokens, usd FROM spent WHERE ledger = ?", (self._number,))
        for model, requests, tokens, usd in spent:
            lines[model] = Line(requests=requests, tokens=tokens, usd=usd)
        flying = database.execute(
            "SELECT model, sum(requests) FROM flights WHERE ledger = ? GROUP BY model", (self._number,)
        )
        for model, in_flight in flying:
            lines.setdefault(model, Line()).in_flight = in_flight
        return lines

    def _time_s(self, database: sqlite3.Connection) -> float:
        (began_at,) = database.execute("SELECT began_at FROM ledgers WHERE id = ?", (self._number,)).fetchone()
        return time.monotonic() - began_at if began_at is not None else 0.0


def interrupted() -> RunHalted:
    """Return the exception that refuses further calls after Ctrl-C."""
    return RunHalted("Interrupted. To continue, start the same program again.", "ended")


def _over() -> RunHalted:
    return RunHalted(
        "The run that this process belongs to is over. Start the program again with `litellm-claude-code run`.", "ended"
    )


# The runs that this process has opened. Usually there is one.
_opened: Final[dict[str, RunFile]] = {}
_kept: Final[list[Any]] = []


def current_run() -> RunFile | None:
    """Return the run that this process belongs to, if there is one."""
    path = os.environ.get(RUN_VARIABLE)
    return _opened.setdefault(path, RunFile(Path(path))) if path else None


def _after_fork() -> None:
    _kept.extend(run._after_fork() for run in _opened.values())
    _this_process.cache_clear()


os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def _this_process() -> str:
    # With its start, because an id is used again.
    return f"{os.getpid()}:{psutil.Process().create_time()}"


def _is_alive(process: str) -> bool:
    pid, _, began = process.partition(":")
    try:
        found = psutil.Process(int(pid))
        is_same = abs(found.create_time() - float(began)) < _CLOCK_CHANGES_S
        return is_same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
