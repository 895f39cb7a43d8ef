"""pytest's way to the stand-in: the fixture `claude_stand_in`.

A suite gets it by naming this module in its `conftest.py`:

    pytest_plugins = ["litellm_claude_code.testing.plugin"]

Nothing else does, installing the package included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import StandIn


@pytest.fixture
def claude_stand_in() -> Iterator[StandIn]:
    """Run a stand-in of the Anthropic Messages API, fresh for each test."""
    from .server import StandIn  # not at import: pytest loads this module whether it is used or not

    with StandIn() as stand_in:
        yield stand_in
