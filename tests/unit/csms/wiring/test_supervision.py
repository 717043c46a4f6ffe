"""Loops that must not end, and a start that may be stopped."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from csms.wiring.errors import RoleEnded, StartFailed
from csms.wiring.supervision import Roles, supervised, unless_stopped


async def forever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise RuntimeError("the secret is 123")


async def returns() -> None:
    return


@pytest.mark.parametrize(
    ("loop", "why"), [(fails, "RuntimeError"), (returns, "it returned")], ids=["fails", "returns"]
)
def test_a_role_that_ends_by_itself_ends_the_process_in_one_line(loop: Any, why: str) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        async with supervised(stop) as roles:
            roles.start("other", forever())
            roles.start("worker", loop())
            async with asyncio.timeout(2):
                await stop.wait()
            assert not roles.is_running("worker")

    with pytest.raises(RoleEnded) as caught:
        asyncio.run(main())
    assert isinstance(caught.value, StartFailed)  # what the command line makes exit code 1 of
    assert str(caught.value) == f"the role worker ended by itself ({why}); see the log"


def test_work_with_an_end_may_end_and_must_not_fail() -> None:
    async def main(work: Any) -> None:
        stop = asyncio.Event()
        async with supervised(stop) as roles:
            roles.start("errand", work(), may_return=True)
            for _ in range(3):
                await asyncio.sleep(0)
            assert not roles.is_running("errand")
            assert stop.is_set() == (work is fails)

    asyncio.run(main(returns))
    with pytest.raises(RoleEnded, match="errand"):
        asyncio.run(main(fails))


def test_an_ordinary_stop_is_no_failure() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        async with supervised(stop) as roles:
            roles.start("worker", forever())
            await asyncio.sleep(0)
            assert roles.is_running("worker")
            stop.set()

    asyncio.run(main())


def test_the_loops_have_ended_before_what_they_use_is_closed() -> None:
    ended: list[str] = []

    async def loop() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("loop")

    async def main() -> None:
        async with supervised(asyncio.Event()) as roles:
            roles.start("worker", loop())
            await asyncio.sleep(0)
        ended.append("closed")

    asyncio.run(main())
    assert ended == ["loop", "closed"]


def test_an_error_of_the_start_is_not_hidden_by_the_loops_it_stopped() -> None:
    async def main() -> None:
        async with supervised(asyncio.Event()) as roles:
            roles.start("worker", forever())
            raise StartFailed("the port is taken")

    with pytest.raises(StartFailed, match="the port is taken"):
        asyncio.run(main())


def played(start: Coroutine[Any, Any, Any], *, stopped: bool) -> Any:
    async def main() -> Any:
        stop = asyncio.Event()
        if stopped:
            asyncio.get_running_loop().call_soon(stop.set)
        async with asyncio.timeout(2):
            return await unless_stopped(stop, start)

    return asyncio.run(main())


async def started() -> str:
    return "started"


def test_a_start_that_comes_through() -> None:
    assert played(started(), stopped=False) == "started"


def test_a_start_that_fails() -> None:
    with pytest.raises(RuntimeError):
        played(fails(), stopped=False)


def test_sigterm_during_the_start_ends_it_there() -> None:
    undone: list[str] = []

    async def start() -> None:
        try:
            await forever()
        finally:
            undone.append("undone")

    assert played(start(), stopped=True) is None
    assert undone == ["undone"]


def test_a_role_that_ends_during_the_start_ends_the_start() -> None:
    async def start(roles: Roles) -> None:
        roles.start("worker", fails())
        await forever()

    async def main() -> None:
        stop = asyncio.Event()
        async with asyncio.timeout(2), supervised(stop) as roles:
            await unless_stopped(stop, start(roles))

    with pytest.raises(RoleEnded):
        asyncio.run(main())
