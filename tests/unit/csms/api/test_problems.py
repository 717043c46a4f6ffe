"""One table from errors to problem documents."""

import inspect

import pytest

from csms.api import problems
from csms.api.problems import ApiError, problem_of
from csms.operations import errors as operation_errors
from csms.ports import bus, station_link, store
from pki import wire

# Never leave an operation: caught there, or an adapter's own affair.
INSIDE = {
    operation_errors.OperationError,
    station_link.StationCallError,
    store.StoreError,
    store.AlreadyExists,
    wire.PkiError,
    wire.PkiRefused,
    bus.BusError,
    bus.NoResponders,
    bus.BusTimeout,
}


def declared_errors() -> list[type[Exception]]:
    modules = (operation_errors, station_link, store, wire, bus)
    return [
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == module.__name__
    ]


def test_every_error_that_can_reach_the_api_is_in_the_table() -> None:
    missing = {error for error in declared_errors() if error not in problems.HANDLED}
    assert missing == INSIDE


def test_the_trees_are_drawn_where_they_are_declared() -> None:
    for _, error in inspect.getmembers(problems, inspect.isclass):
        if issubclass(error, ApiError):
            assert error.__name__ in (problems.__doc__ or "")


def test_an_unknown_error_says_nothing_of_itself() -> None:
    problem = problem_of(ValueError("secret"))
    assert problem.document == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
    }


def test_a_subclass_is_answered_like_its_nearest_ancestor() -> None:
    class Later(store.StoreUnavailable):
        pass

    assert problem_of(Later()).status == 503
    assert problem_of(Later()).headers == {"Retry-After": "5"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (operation_errors.NotFound("station"), 404),
        (operation_errors.Conflict("taken"), 409),
        (station_link.NotConnected(), 409),
        (station_link.NoAnswer(), 504),
        (station_link.InvalidAnswer(), 502),
        (station_link.StationRefused("X", "y"), 502),
        (store.Superseded(), 409),
        (wire.PkiUnavailable(), 503),
        (ConnectionError(), 503),
        (ConnectionResetError(), 503),
    ],
)
def test_an_error_has_its_status(error: Exception, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.document["status"] == status
