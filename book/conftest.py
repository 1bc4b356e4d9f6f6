"""Settings of `make notebooks`: stderr, where progress bars go, is not compared."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        notebook = item.parent
        if "stderr" not in notebook.skip_compare:
            notebook.skip_compare += ("stderr",)
