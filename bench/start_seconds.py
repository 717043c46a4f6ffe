"""`start_seconds`: `csms up` again on existing data, until `endpoints.json` says that it is ready.

The raw limit is the bundled OpenBao alone on the same data: started, unsealed by its static seal
and active. The first start, which makes the data, is not part of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from bench.figures import Figure, Goal, Round, Scale, Side
from bench.measuring import ROOT, MeasurementFailed
from csms.adapters.openbao import BundledOpenBao
from csms.adapters.vault import VaultCredentials
from tests.fixtures.product import Product, make_product


@contextmanager
def measure(scale: Scale) -> Iterator[Callable[[], Round]]:
    # The rounds are the output here; what OpenBao's adapter logs is not.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    product = make_product(scale.scratch)
    product.start()
    product.stop()
    yield lambda: {Side.OURS: _again(product), Side.RAW_LIMIT: _openbao(scale.scratch)}


def _again(product: Product) -> float:
    product.start()
    product.stop()
    return product.started_in


def _openbao(data_dir: Path) -> float:
    return asyncio.run(_openbao_started(data_dir / "openbao"))


async def _openbao_started(directory: Path) -> float:
    openbao = BundledOpenBao(directory, policies_dir=ROOT / "policies" / "vault")
    began = time.perf_counter()
    await openbao.start(_never)
    seconds = time.perf_counter() - began
    await openbao.stop()
    return seconds


async def _never(_: VaultCredentials) -> None:
    raise MeasurementFailed("this was a first start: there was no data to start on")


FIGURE: Final = Figure(
    name="start_seconds",
    unit="s",
    what="csms up again on existing data, until endpoints.json is there",
    raw_limit="the bundled OpenBao alone, started and unsealed on the same data",
    plain="a plain central system has neither database nor Vault",
    goal=Goal(at_most=5),
    measure=measure,
)
