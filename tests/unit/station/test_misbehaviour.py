"""Switches as the command line spells them."""

import pytest

from station.misbehaviour import Misbehaviour, SwitchUnknown, names


def test_words_set_switches_of_every_kind() -> None:
    wrong = Misbehaviour.parse(
        ["late-answer=1.5", "never-answer", "silent-actions=Reset,GetLog", "csr-serial=SN9"]
    )
    assert wrong == Misbehaviour(
        late_answer=1.5, never_answer=True, silent_actions={"Reset", "GetLog"}, csr_serial="SN9"
    )
    assert Misbehaviour.parse(["never-answer=off"]) == Misbehaviour()


@pytest.mark.parametrize(
    "word", ["explode", "late-answer=soon", "never-answer=maybe", "csr-serial"]
)
def test_unknown_switch_or_value_is_refused_by_name(word: str) -> None:
    with pytest.raises(SwitchUnknown, match=word.partition("=")[0]):
        Misbehaviour.parse([word])


def test_every_switch_has_a_name_with_dashes() -> None:
    assert "csr-san" in names()
    assert len(names()) == len(set(names()))
