"""Actions and their directions (Part 2 §3)."""

from csms.ocpp.actions import FROM_CSMS, FROM_STATION, RECEIVED_BY, SENT_BY, Action, Role
from csms.ocpp.messages import REQUESTS, RESPONSES


def test_64_actions_each_with_two_messages() -> None:
    assert len(Action) == 64
    assert {action.value for action in Action} == set(REQUESTS) == set(RESPONSES)


def test_25_from_the_station_40_from_the_csms_and_only_data_transfer_both_ways() -> None:
    assert (len(FROM_STATION), len(FROM_CSMS)) == (25, 40)
    assert set(Action) == FROM_STATION | FROM_CSMS
    assert {Action.DATA_TRANSFER} == FROM_STATION & FROM_CSMS


def test_what_one_role_sends_the_other_receives() -> None:
    assert SENT_BY[Role.CSMS] == RECEIVED_BY[Role.CHARGING_STATION] == FROM_CSMS
    assert SENT_BY[Role.CHARGING_STATION] == RECEIVED_BY[Role.CSMS] == FROM_STATION


def test_sides_of_the_security_messages() -> None:
    """A02, A03, A04: the station asks for a signature and reports, the CSMS delivers."""
    assert {Action.SIGN_CERTIFICATE, Action.SECURITY_EVENT_NOTIFICATION} <= FROM_STATION
    assert {Action.CERTIFICATE_SIGNED, Action.SET_NETWORK_PROFILE} <= FROM_CSMS
    assert Action.CERTIFICATE_SIGNED not in FROM_STATION
    assert Action.SIGN_CERTIFICATE not in FROM_CSMS
