"""csms.gateway.supervisor: tasks have an owner, and a bug ends one of them."""

import asyncio

import pytest

from csms.gateway.supervisor import Supervisor, place_of


def test_a_bug_ends_its_task_only_and_its_text_is_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret text")

    async def main() -> None:
        supervisor, done = Supervisor(), asyncio.Event()

        async def honest() -> None:
            await asyncio.sleep(0.01)
            done.set()

        supervisor.start(honest())
        supervisor.start(broken())
        await asyncio.wait_for(done.wait(), 1)
        await supervisor.stop()
        assert len(supervisor) == 0

    asyncio.run(main())
    said = capsys.readouterr().out
    assert "gateway_task_failed" in said
    assert "RuntimeError" in said
    assert "secret" not in said


def test_stop_is_patient_and_then_ends_everything() -> None:
    async def main() -> None:
        supervisor, ended = Supervisor(), []

        async def work(seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
                ended.append("by itself")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        supervisor.start(work(0.01))
        supervisor.start(work(60))
        await asyncio.sleep(0)
        await supervisor.stop(patience=0.1)
        assert ended == ["by itself", "cancelled"]

    asyncio.run(main())


def test_an_error_never_raised_has_no_place() -> None:
    assert place_of(ValueError()) == "?"
