"""CSR timing: A02.FR.17-20."""

from station import device_model as dm
from station.device_model import DeviceModel
from station.signing_cycle import SigningCycle


def model(*, wait: int, times: int) -> DeviceModel:
    values = {dm.SIGNING_WAIT_MINIMUM: str(wait), dm.SIGNING_REPEAT_TIMES: str(times)}
    return DeviceModel(values)


def test_waits_double_up_to_the_repeat_times_and_then_end() -> None:
    cycle = SigningCycle()
    cycle.start(now=0, triggered=True)
    assert cycle.is_due(0)
    due = []
    while cycle.due_at is not None:
        now = cycle.due_at
        cycle.accepted(now=now, model=model(wait=10, times=3))
        due.append(cycle.due_at)
    assert due == [10, 10 + 20, 10 + 20 + 40, None]
    assert not cycle.is_due(1e9)


def test_nothing_is_due_while_waiting_or_after_the_answer() -> None:
    cycle = SigningCycle()
    assert not cycle.is_due(0)
    cycle.start(now=0, triggered=False)
    cycle.accepted(now=0, model=model(wait=10, times=3))
    assert not cycle.is_due(9.9)
    cycle.stop()
    assert not cycle.is_due(100)


def test_trigger_starts_over() -> None:
    cycle = SigningCycle(csr="old", repeats=3)
    cycle.start(now=5, triggered=True)
    assert (cycle.csr, cycle.repeats, cycle.due_at) == (None, 0, 5)
