"""Certificates, their requests, renewal and revocation; events, audit entries, clients, the CA."""

import hashlib
import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from csms.domain.access import Role, Scope
from csms.domain.audit import AuditAction
from csms.domain.certificate import (
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    CertificateUse,
    RequestStatus,
)
from csms.domain.security_event import EventSource, SecurityEvent
from csms.ports.bus import SESSIONS_CLOSE
from pki.wire import PkiUnavailable, TrustAnchors
from tests.fixtures.api_room import ApiRoom, room

FIELDS = {
    "id",
    "serial",
    "fingerprint_sha256",
    "station",
    "use",
    "status",
    "issuer",
    "not_before",
    "not_after",
    "first_seen_at",
    "revoked_at",
    "revocation_reason",
}


async def certificate(
    api: ApiRoom,
    station_id: UUID,
    number: int = 1,
    status: CertificateStatus = CertificateStatus.ACTIVE,
) -> CertificateRecord:
    now = api.house.clock.now()
    record = CertificateRecord(
        id=uuid4(),
        station_id=station_id,
        use=CertificateUse.CHARGING_STATION,
        issuer="stations",
        serial=f"{number:x}",
        fingerprint_sha256=f"{number:064x}",
        status=status,
        not_before=now,
        not_after=now + timedelta(days=number),
        certificate_pem="leaf",
        chain_pem="leaf and issuer\n",
        created_at=now,
    )
    async with api.house.store.writing() as work:
        await work.certificates.add(record)
        await work.commit()
    return record


def test_certificates_are_listed_shown_and_filtered(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        one, two = await api.house.station("CS-1"), await api.house.station("CS-2")
        first = await certificate(api, one.id, 1)
        second = await certificate(api, two.id, 9, CertificateStatus.SUPERSEDED)
        shown = (await api.call("GET", f"/certificates/{first.id}")).json()
        assert set(shown) == FIELDS
        assert (shown["station"], shown["status"]) == ("CS-1", "active")
        assert shown["not_after"] == "2026-11-24T12:00:00.000Z"
        for parameters, expected in (
            ({}, {first.id, second.id}),
            ({"station": "cs-2"}, {second.id}),
            ({"status": "active"}, {first.id}),
            ({"expires_before": "2026-11-25T00:00:00Z"}, {first.id}),
        ):
            page = (await api.call("GET", "/certificates", params=parameters)).json()
            assert {UUID(item["id"]) for item in page["items"]} == expected, parameters
        answer = await api.call("GET", f"/certificates/{first.id}/chain")
        assert answer.text == "leaf and issuer\n"
        assert answer.headers["content-type"] == "application/pem-certificate-chain"

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "parameters",
    [
        {"status": "valid"},
        {"expires_before": "tomorrow"},
        {"expires_before": "2026-11-25T00:00:00"},
    ],
)
def test_a_filter_that_means_nothing_is_refused(
    sqlite_store_url: str, parameters: dict[str, str]
) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("GET", "/certificates", params=parameters)).status_code == 422

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("certificate_id", ["1", "x" * 36, str(uuid4())])
def test_an_unknown_certificate_is_not_found(sqlite_store_url: str, certificate_id: str) -> None:
    async def scene(api: ApiRoom) -> None:
        path = f"/certificates/{certificate_id}"
        assert (await api.call("GET", path)).status_code == 404
        assert (await api.call("GET", f"{path}/chain")).status_code == 404
        body = {"reason": "keyCompromise"}
        assert (await api.call("POST", f"{path}/revocation", body)).status_code == 404
        page = await api.call("GET", "/certificates", params={"station": "nobody"})
        assert page.status_code == 404

    room(sqlite_store_url, scene)


def test_revoking_answers_which_nodes_cut_the_session(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        station = await api.house.station("CS-1")
        record = await certificate(api, station.id)

        async def close(message: dict[str, object]) -> dict[str, object]:
            assert message["certificate_id"] == str(record.id)
            return {"node": "node-1", "closed": True, "at": "2026-11-23T12:00:00.000Z"}

        await api.house.bus.subscribe(SESSIONS_CLOSE, close)
        path = f"/certificates/{record.id}/revocation"
        answer = await api.call("POST", path, {"reason": "keyCompromise"})
        assert answer.status_code == 200
        body = answer.json()
        assert body["certificate"]["status"] == "revoked"
        assert body["certificate"]["revocation_reason"] == "keyCompromise"
        assert body["certificate"]["revoked_at"] == "2026-11-23T12:00:00.000Z"
        assert [node["node"] for node in body["nodes"]] == ["node-1"]
        assert (await api.call("POST", path, {"reason": "superseded"})).status_code == 409
        (entry,) = await api.audited(AuditAction.CERTIFICATE_REVOKE)
        assert entry.record.reason == "keyCompromise"

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "body", [{}, {"reason": "because"}, {"reason": 1}, {"reason": "cACompromise"}]
)
def test_a_revocation_needs_one_of_the_reasons(
    sqlite_store_url: str, body: dict[str, object]
) -> None:
    async def scene(api: ApiRoom) -> None:
        station = await api.house.station("CS-1")
        record = await certificate(api, station.id)
        answer = await api.call("POST", f"/certificates/{record.id}/revocation", body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/reason"
        shown = await api.call("GET", f"/certificates/{record.id}")
        assert shown.json()["status"] == "active"

    room(sqlite_store_url, scene)


def test_a_renewal_is_an_operation_to_watch_and_asking_again_joins_it(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        path = "/stations/CS-1/certificates/renewal"
        answer = await api.call("POST", path, scopes=[Scope.CERTIFICATES_ISSUE])
        assert answer.status_code == 202
        operation = answer.json()
        assert (operation["kind"], operation["state"]) == ("renew_certificate", "waiting")
        location = answer.headers["location"].removeprefix("/api/v1")
        assert (await api.call("GET", location)).json() == operation
        assert (await api.call("POST", path)).json()["id"] == operation["id"]
        assert (await api.call("POST", "/stations/no/certificates/renewal")).status_code == 404

    room(sqlite_store_url, scene)


def test_certificate_requests_are_listed_by_status(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        station = await api.house.station("CS-1")
        request = CertificateRequest(
            id=uuid4(),
            station_id=station.id,
            use=CertificateUse.CHARGING_STATION,
            certificate_type=None,
            csr_pem="a csr",
            csr_sha256="ab",
            status=RequestStatus.REFUSED,
            received_at=api.house.clock.now(),
            detail="weak_key",
        )
        async with api.house.store.writing() as work:
            await work.certificate_requests.add(request)
            await work.commit()
        page = (await api.call("GET", "/certificate-requests?status=refused")).json()
        assert [item["detail"] for item in page["items"]] == ["weak_key"]
        assert page["items"][0]["station"] == "CS-1"
        assert (await api.call("GET", "/certificate-requests?status=open")).json()["items"] == []

    room(sqlite_store_url, scene)


def test_security_events_are_listed_newest_first_and_by_station(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        one, two = await api.house.station("CS-1"), await api.house.station("CS-2")
        now = api.house.clock.now()
        async with api.house.store.writing() as work:
            for number, station in enumerate((one, two)):
                await work.security_events.add(
                    SecurityEvent(
                        id=uuid4(),
                        station_id=station.id,
                        type="InvalidCsmsCertificate",
                        occurred_at=now,
                        received_at=now + timedelta(seconds=number),
                        tech_info="<script>",
                        source=EventSource.STATION,
                    )
                )
            await work.commit()
        page = (await api.call("GET", "/security-events")).json()
        assert [item["station"] for item in page["items"]] == ["CS-2", "CS-1"]
        assert page["items"][0]["critical"] is True
        page = (await api.call("GET", "/security-events?station=CS-1")).json()
        assert [item["station"] for item in page["items"]] == ["CS-1"]

    room(sqlite_store_url, scene)


def test_audit_entries_come_in_their_order_and_can_be_hashed_again(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for number in range(3):
            await api.house.station(f"CS-{number}")
        token = await api.token(Scope.AUDIT_READ)
        parameters = {"action": "station.register", "limit": "2"}
        page = (await api.call("GET", "/audit/entries", token=token, params=parameters)).json()
        rest = (
            await api.call(
                "GET", "/audit/entries", token=token, params=parameters | {"cursor": page["next"]}
            )
        ).json()
        found = page["items"] + rest["items"]
        assert [item["subject"] for item in found] == [f"station:cs-{n}" for n in range(3)]
        assert rest["next"] is None
        for item in found:
            # As an auditor would, from the answer alone.
            document = {key: item[key] for key in item if key not in {"index", "hash"}}
            document["at"] = document["at"].replace("Z", "+00:00")
            text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert hashlib.sha256(text.encode()).hexdigest() == item["hash"]
        by_subject = await api.call("GET", "/audit/entries?subject=station:cs-1", token=token)
        assert len(by_subject.json()["items"]) == 1
        for wrong in ("cursor=-1", "cursor=x", "action=nothing"):
            answer = await api.call("GET", f"/audit/entries?{wrong}", token=token)
            assert answer.status_code == 422

    room(sqlite_store_url, scene)


def test_a_new_client_gets_its_secret_once_and_works(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call(
            "POST", "/oauth-clients", {"name": "watcher", "roles": [Role.AUDITOR.value]}
        )
        assert answer.status_code == 201
        created = answer.json()
        secret = created.pop("client_secret")
        asked = await api.ask_token((created["client_id"], secret), scope="audit:read")
        assert asked.status_code == 200
        listed = (await api.call("GET", "/oauth-clients")).json()["items"]
        assert created in listed
        assert secret not in await api.everything_audited()
        assert (await api.call("DELETE", "/oauth-clients/nobody")).status_code == 404

    room(sqlite_store_url, scene)


def test_nobody_hands_out_scopes_he_does_not_hold(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        body = {"name": "mighty", "roles": ["administrator"]}
        answer = await api.call("POST", "/oauth-clients", body, scopes=[Scope.CLIENTS_MANAGE])
        assert answer.status_code == 403
        body = {"name": "same", "scopes": ["clients:manage"]}
        answer = await api.call("POST", "/oauth-clients", body, scopes=[Scope.CLIENTS_MANAGE])
        assert answer.status_code == 201

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, ""),
        ({"name": "x", "roles": ["king"]}, "/roles/0"),
        ({"name": "x", "scopes": ["stations:read", "all"]}, "/scopes/1"),
        ({"name": "", "roles": ["auditor"]}, "/name"),
        ({"name": "a\x1bb", "roles": ["auditor"]}, "/name"),
        ({"roles": ["auditor"]}, "/name"),
        ({"name": "x", "roles": ["auditor"], "client_secret": "mine"}, "/client_secret"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused(
    sqlite_store_url: str, body: dict[str, object], pointer: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call("POST", "/oauth-clients", body)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    room(sqlite_store_url, scene)


def test_the_ca_certificates_are_for_everybody(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        async def anchors() -> TrustAnchors:
            return TrustAnchors(
                root_pem="root\n", station_issuers_pem=["stations"], server_issuers_pem=["servers"]
            )

        async def away() -> TrustAnchors:
            raise PkiUnavailable

        api.house.pki.trust_anchors = anchors  # type: ignore[method-assign]
        answer = await api.http.get("/pki/ca.pem")
        assert (answer.status_code, answer.text) == (200, "root\nstations\nservers\n")
        api.house.pki.trust_anchors = away  # type: ignore[method-assign]
        assert (await api.http.get("/pki/ca.pem")).status_code == 503

    room(sqlite_store_url, scene)
