"""What all models have in common: bodies are strict, times are UTC with a Z, pages have a next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, PlainSerializer, field_validator

Item = TypeVar("Item")


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=512)]


class Body(BaseModel):
    """A request body: no unknown fields, no conversions, no null for "absent"."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("null; what is absent is left out")
        return value


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PageAnswer(Answer, Generic[Item]):
    items: list[Item]
    next: str | None

    @classmethod
    def of(cls, items: Iterable[Item], following: str | None) -> PageAnswer[Item]:
        return cls(items=list(items), next=following)
