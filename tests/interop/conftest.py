"""What the npm stations need: Node, and the packages of package-lock.json."""

from pathlib import Path

import pytest

from tests.fixtures.node import Node, find_node, install_packages


@pytest.fixture(scope="session")
def node() -> Node:
    """Node with the npm packages of this directory installed."""
    found = find_node()
    install_packages(found, Path(__file__).parent)
    return found
