"""Fixtures that all tests share, by plugin."""

pytest_plugins = [
    "tests.attacks.scoreboard",
    "tests.fixtures.openssl",
    "tests.fixtures.postgres",
    "tests.fixtures.product",
    "tests.fixtures.scanners",
    "tests.fixtures.stores",
    "tests.fixtures.vault",
    "tests.attacks.outage",  # last: it uses the others
]
