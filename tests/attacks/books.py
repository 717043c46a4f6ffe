"""Do the books balance? Read by the checker itself: two databases, Vault's audit file, the
stations' key stores and histories. Nothing is asked of the product but what its files say.

Every function returns what is wrong, in words; nothing is the answer hoped for.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.attacks.lives import Rows

# A02.FR.28, T14: with these the station is let in; written out, not imported.
ADMISSIBLE = {"delivered", "accepted", "active"}
SIGN = "transit/sign/csms-issuer-stations/"


def key_store(keys: Path) -> set[str]:
    """Fingerprints of the certificates that a station holds, with a key for each."""
    while True:
        try:
            return {
                x509.load_pem_x509_certificates(file.read_bytes())[0]
                .fingerprint(hashes.SHA256())
                .hex()
                for file in keys.glob("station-*.pem")
                if file.with_suffix(".key").exists()
            }
        except FileNotFoundError:
            continue  # it is at work: a file went while we looked


def without_credential(rows: Rows, data: Path) -> list[str]:
    """The stations that no certificate of theirs would let in now (P01)."""
    admissible: dict[str, set[str]] = defaultdict(set)
    query = """select s.identity, c.fingerprint_sha256, c.status from certificates c
        join stations s on s.id = c.station_id"""
    for identity, fingerprint, status in rows("csms", query):
        if status in ADMISSIBLE:
            admissible[identity.lower()].add(fingerprint)
    return [
        directory.name
        for directory in sorted(data.iterdir())
        if not key_store(directory / "keys") & admissible[directory.name.lower()]
    ]


def history(file: Path) -> list[dict[str, Any]]:
    """What the stations wrote down; the last line may be half written."""
    entries = []
    for line in file.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def on_profile_3(rows: Rows, data: Path) -> list[str]:
    """The stations that are not connected with the newest certificate that they hold."""
    query = """select s.identity, c.fingerprint_sha256, c.status from station_sessions l
        join stations s on s.id = l.station_id join certificates c on c.id = l.certificate_id
        where l.node is not null and l.profile = 3"""
    connected = {
        identity.lower(): (fingerprint, status)
        for identity, fingerprint, status in rows("csms", query)
    }
    wrong = []
    for directory in sorted(data.iterdir()):
        held, (used, status) = (
            key_store(directory / "keys"),
            connected.get(directory.name.lower(), ("", "not connected")),
        )
        # One that is seen discards the others (A02.FR.10).
        if held != {used} or status != "active":
            wrong.append(f"{directory.name}: {status}, holds {len(held)}")
    return wrong


def not_connected(rows: Rows, data: Path) -> list[str]:
    """The stations that nobody holds, by whatever certificate."""
    query = """select s.identity from station_sessions l join stations s on s.id = l.station_id
        where l.node is not null and l.profile = 3"""
    connected = {identity.lower() for (identity,) in rows("csms", query)}
    return sorted({directory.name.lower() for directory in data.iterdir()} - connected)


def jobs_left(rows: Rows) -> list[str]:
    """Jobs that have not come to their end."""
    # One that only watches a renewal ends with it, in its own time.
    query = """select kind, note, count(*) from jobs where state = 'waiting'
        and kind != 'trigger_renewal' group by kind, note"""
    return [str(row) for row in rows("csms", query)]


def renewals_left(rows: Rows) -> list[str]:
    query = """select progress, count(*) from operations
        where state not in ('succeeded', 'failed') group by progress"""
    return [str(row) for row in rows("csms", query)]


def inventory(rows: Rows) -> list[str]:
    """The PKI's own books, and csms's beside them."""
    wrong = []
    intents = rows("pki", "select issuer, serial, kind, outcome, tbs_sha256 from intents")
    certificates = rows(
        "pki",
        "select issuer, serial, kind, public_key_sha256, fingerprint_sha256, der, holder "
        "from certificates",
    )
    wrong += [f"intent without an outcome: {row}" for row in intents if row[3] is None]
    wrong += _twice("serial", [row[:2] for row in intents])
    wrong += _twice("serial in a certificate", [row[:2] for row in certificates])
    issued = {row[:2] for row in intents if row[3] == "issued"}
    if issued != {row[:2] for row in certificates}:
        wrong.append("intents with outcome 'issued' are not the certificates")
    stations = [row for row in certificates if row[2] == "station"]
    wrong += _twice("(station, key)", [(row[6], row[3]) for row in stations])
    for _, serial, _, _, fingerprint, der, _ in stations:
        certificate = x509.load_der_x509_certificate(der)
        if f"{certificate.serial_number:x}" != serial.lower().lstrip("0"):
            wrong.append(f"the serial in the books is not the certificate's: {serial}")
        if certificate.fingerprint(hashes.SHA256()).hex() != fingerprint:
            wrong.append(f"the fingerprint in the books is not the certificate's: {serial}")
    known = rows("csms", "select issuer, serial, fingerprint_sha256 from certificates")
    ours, theirs = set(known), {(row[0], row[1], row[4]) for row in stations}
    wrong += [f"unknown to csms: {row}" for row in theirs - ours]
    wrong += [f"unknown to the PKI: {row}" for row in ours - theirs]
    live = rows(
        "csms",
        "select station_id, count(*) from certificates where status in "
        "('delivered','accepted','active') group by station_id having count(*) > 1",
    )
    wrong += [f"more than one certificate would be let in: {row}" for row in live]
    return wrong


def audit(rows: Rows) -> list[str]:
    """P30: sequences without a gap, an entry for every change, an outcome for every intent."""
    wrong = []
    for database, table, column in (
        ("csms", "audit_entries", "entry_index"),
        ("pki", "audit", "id"),
    ):
        indexes = [row[0] for row in rows(database, f"select {column} from {table}")]
        first = min(indexes)
        if first not in {0, 1} or sorted(indexes) != [*range(first, first + len(indexes))]:
            wrong.append(f"{table} has a gap")
    wrong += _unaudited(rows)
    entries: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for action, details in rows("pki", "select action, details from audit"):
        said = json.loads(details)
        entries[action][said.get("issuer", ""), said.get("serial", "")] += 1
    intents = rows("pki", "select issuer, serial, outcome from intents")
    expected = {
        "open_intent": Counter(row[:2] for row in intents),
        "issue_certificate": Counter(row[:2] for row in intents if row[2] == "issued"),
        "abandon_intent": Counter(row[:2] for row in intents if row[2] == "abandoned"),
    }
    wrong += [
        f"the PKI's audit does not tell each {action} once"
        for action, told in expected.items()
        if entries[action] != told
    ]
    return wrong


def _unaudited(rows: Rows) -> Iterator[str]:
    """csms: what became of each certificate stands in the audit log once."""
    told: Counter[tuple[str, str]] = Counter()
    query = "select action, subject, details from audit_entries where outcome = 'success'"
    for action, subject, details in rows("csms", query):
        told[action, subject] += 1
        if action == "certificate.issue":
            told[action, json.loads(details)["certificate"]] += 1
    query = "select lower(hex(id)), id, status, first_seen_at from certificates"
    for _, raw, status, seen in rows("csms", query):
        name = _uuid(raw)
        if told["certificate.issue", name] != 1:
            yield f"issued {told['certificate.issue', name]} times in the audit log: {name}"
        if told["certificate.activate", f"certificate:{name}"] != (seen is not None):
            yield f"activation not in the audit log once: {name}"
        if told["certificate.supersede", f"certificate:{name}"] != (status == "superseded"):
            yield f"supersession not in the audit log once: {name}"


def _uuid(raw: str) -> str:
    text = raw.replace("-", "")
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def signed(
    audit_file: Path, written: Mapping[str, str], *, since: int = 0
) -> tuple[Counter[str], list[str]]:
    """What Vault's own audit file says was signed by the stations' issuer, by digest, `since` so
    many bytes.

    `written`: how its audit device writes the input of each intent's digest. The second part are
    the inputs that are nobody's: signatures that our books know nothing of.
    """
    digests = {line: digest for digest, line in written.items()}
    times: Counter[str] = Counter()
    unknown = []
    for line in audit_file.read_bytes()[since:].splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        request = entry["request"]
        if entry["type"] != "request" or not request.get("path", "").startswith(SIGN):
            continue
        digest = digests.get(request["data"]["input"])
        if digest is None:
            unknown.append(request["data"]["input"])
        else:
            times[digest] += 1
    return times, unknown


def sign_input(tbs_sha256: str) -> str:
    """What the PKI sends to Transit for a TBSCertificate of that hash (P-256, SHA-256)."""
    return base64.b64encode(bytes.fromhex(tbs_sha256)).decode()


def refused_credentials(entries: Collection[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Attempts that the product turned down for what the station showed, not for being away."""
    return [
        entry
        for entry in entries
        if entry["event"] == "refused"
        and (entry.get("status") in {400, 401, 403, 404} or "TLS" in str(entry.get("reason")))
    ]


def installed(entries: Collection[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """How often each station installed each serial."""
    return Counter(
        (entry["station"].upper(), entry["serial"])
        for entry in entries
        if entry["event"] == "applied" and entry.get("what") == "certificate_installed"
    )


def _twice(what: str, values: list[Any]) -> list[str]:
    return [f"{what} twice: {value}" for value, count in Counter(values).items() if count > 1]


def serials(rows: Rows) -> list[tuple[str, str]]:
    """(identity, certificate's serial number as the station writes it) of all in the inventory."""
    query = """select s.identity, c.serial from certificates c
        join stations s on s.id = c.station_id"""
    return [(identity.upper(), f"{int(serial, 16):x}") for identity, serial in rows("csms", query)]


def false_alarms(rows: Rows) -> list[Any]:
    """Crashes are nobody's fault at the station: no event may say that it did not take its
    certificate, and no renewal may have failed but by another that was asked for.
    """
    return [
        *rows(
            "csms",
            "select type, tech_info from security_events where type = 'CertificateNotDelivered'",
        ),
        *rows(
            "csms",
            "select progress, result from operations where state = 'failed' "
            "and result not like '%another renewal was asked for%'",
        ),
        *rows("csms", "select kind, note from jobs where state = 'failed'"),
    ]


def refused_in_vain(rows: Rows) -> list[Any]:
    """Refusals of a certificate whose successor had not been seen yet (T14)."""
    query = """select a.at, a.identity, a.failing_check from connection_attempts a
        left join certificates c on c.fingerprint_sha256 = a.certificate
        where a.outcome = 'refused' and not exists (
            select 1 from certificates n where n.station_id = c.station_id
            and n.created_at > c.created_at and n.first_seen_at <= a.at)"""
    return rows("csms", query)
