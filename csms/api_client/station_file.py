"""`stations.csv`: a header line, then one station a line.

Columns: identity, serial_number, security_profile; optionally groups (separated by ;) and
registration_status. The whole file is read and understood before the first station is registered.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from csms.api_client.session import ApiFailed

_NEEDED: Final = frozenset({"identity", "serial_number", "security_profile"})
_KNOWN: Final = _NEEDED | {"groups", "registration_status"}


def read_stations(path: Path) -> list[dict[str, Any]]:
    """Bodies of POST /stations. Raises ApiFailed with the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        raise ApiFailed(f"{path}: cannot be read as UTF-8 text") from None
    rows = csv.DictReader(text.splitlines(), strict=True)
    try:
        columns = set(rows.fieldnames or ())
        # Of a column that is there twice, only the last would count.
        if not _NEEDED <= columns <= _KNOWN or len(columns) != len(rows.fieldnames or ()):
            raise ApiFailed(f"{path}: the header must name {', '.join(sorted(_NEEDED))}")
        return [_station(row, f"{path}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        # The reader counts the lines it has finished.
        raise ApiFailed(f"{path}, line {rows.line_num + 1}: {error}") from None


def _station(row: Mapping[str | None, Any], where: str) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ApiFailed(f"{where}: more or fewer fields than the header has")
    profile = row["security_profile"].strip()
    if profile not in {"1", "2", "3"}:
        raise ApiFailed(f"{where}: security_profile must be 1, 2 or 3")
    station: dict[str, Any] = {
        "identity": row["identity"].strip(),
        "serial_number": row["serial_number"].strip(),
        "security_profile": int(profile),
    }
    groups = [group.strip() for group in row.get("groups", "").split(";") if group.strip()]
    status = row.get("registration_status", "").strip()
    return (
        station
        | ({"groups": groups} if groups else {})
        | ({"registration_status": status} if status else {})
    )
