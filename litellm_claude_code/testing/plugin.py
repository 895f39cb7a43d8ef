"""A pytest plugin with the fixture `claude_stand_in`.

To enable it, add this line to your `conftest.py`:

    pytest_plugins = ["litellm_claude_code.testing.plugin"]

Installing the package does not enable it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import StandIn


@pytest.fixture
def claude_stand_in() -> Iterator[StandIn]:
    """Run a fresh stand-in for the Anthropic Messages API for each test."""
    from .server import StandIn  # imported here because pytest loads this module even if no test uses it

    with StandIn() as stand_in:
        yield stand_in
