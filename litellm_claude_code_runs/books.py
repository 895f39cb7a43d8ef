"""Where the ledgers of this process are: in the file of the run that it belongs to, or in memory."""

from __future__ import annotations

from .ledger import MEMORY, Books
from .run_file import current_run


def books() -> Books:
    """Return the ledgers of the run that this process belongs to, or this process's own."""
    return current_run() or MEMORY
