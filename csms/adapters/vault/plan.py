"""What stands in Vault: names, key types and AppRoles. One table, used to apply and to verify.

The rights of each role are in `policies/vault/<role>.hcl`, named like the role.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

TRANSIT: Final = "transit"
KV: Final = "csms"
PEPPER_DATA: Final = f"{KV}/data/pepper"
PEPPER_METADATA: Final = f"{KV}/metadata/pepper"
APPROLE: Final = "auth/approle"


class Role(StrEnum):
    """Our AppRoles; each has a policy of the same name."""

    GATEWAY = "csms-gateway"
    API = "csms-api"
    WORKER = "csms-worker"
    FILES = "csms-files"
    PKI = "csms-pki"
    CEREMONY = "csms-ceremony"
    PROVISIONER = "csms-provisioner"


class Key(StrEnum):
    """Our Transit keys."""

    ROOT = "csms-root"
    ISSUER_STATIONS = "csms-issuer-stations"
    ISSUER_SERVERS = "csms-issuer-servers"
    ROOT_RSA = "csms-root-rsa"
    ISSUER_SERVERS_RSA = "csms-issuer-servers-rsa"
    AUDIT = "csms-audit"
    TOKENS = "csms-tokens"


KEY_TYPES: Final[Mapping[Key, str]] = MappingProxyType(
    {
        Key.ROOT: "ecdsa-p384",  # outlives the issuers by many years
        Key.ISSUER_STATIONS: "ecdsa-p256",
        Key.ISSUER_SERVERS: "ecdsa-p256",
        Key.ROOT_RSA: "rsa-3072",
        Key.ISSUER_SERVERS_RSA: "rsa-3072",
        Key.AUDIT: "ed25519",  # C2SP signed note
        Key.TOKENS: "ecdsa-p256",  # ES256
    }
)

# What the TLS policy `ocpp-certification` needs besides. Otherwise not made: a key without a use is
# one more to guard, and two of RSA would delay the first start.
CERTIFICATION_KEYS: Final = frozenset({Key.ROOT_RSA, Key.ISSUER_SERVERS_RSA})


def planned_keys(*, certification: bool) -> tuple[Key, ...]:
    return tuple(key for key in Key if certification or key not in CERTIFICATION_KEYS)


MAY_SIGN: Final[Mapping[Role, frozenset[Key]]] = MappingProxyType(
    {
        Role.GATEWAY: frozenset(),
        Role.API: frozenset({Key.TOKENS}),
        Role.WORKER: frozenset({Key.AUDIT}),
        Role.FILES: frozenset(),
        Role.PKI: frozenset({Key.ISSUER_STATIONS, Key.ISSUER_SERVERS, Key.ISSUER_SERVERS_RSA}),
        Role.CEREMONY: frozenset({Key.ROOT, Key.ROOT_RSA}),
        Role.PROVISIONER: frozenset(),
    }
)

MAY_READ_PEPPER: Final = frozenset({Role.GATEWAY, Role.API})

# Mount point -> what `sys/mounts` says of it.
MOUNTS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        TRANSIT: {"type": "transit"},
        KV: {"type": "kv", "options": {"version": "2"}},
    }
)

# Five failed logins lock an AppRole out for fifteen minutes, by default: whoever knows a role id,
# which is no secret, could keep the CA from signing, and so could we after an outage. A secret id
# of 128 random bits is not to be guessed, so the lock guards nothing (P05).
LOGIN_TUNING: Final[Mapping[str, object]] = MappingProxyType(
    {"user_lockout_config": {"lockout_disable": True}}
)

# The ceremony's secret id lives as long as one ceremony and opens one login.
CEREMONY_SECRET_TTL: Final = 300
CEREMONY_TOKEN_TTL: Final = 1800


@dataclass(frozen=True, slots=True)
class Networks:
    """From where AppRoles may log in and tokens be used; empty means from anywhere."""

    cidrs: tuple[str, ...] = ()


def approle(role: Role, networks: Networks) -> dict[str, object]:
    """What `auth/approle/role/<role>` must say."""
    ceremony = role is Role.CEREMONY
    return {
        "token_policies": [role.value],
        # `default` lets a token read its identity, cubbyhole and more: our files grant it all.
        "token_no_default_policy": True,
        "token_type": "service",  # renewable and revocable; batch tokens are neither
        "token_ttl": CEREMONY_TOKEN_TTL if ceremony else 20 * 60,
        "token_max_ttl": CEREMONY_TOKEN_TTL if ceremony else 4 * 3600,
        "token_explicit_max_ttl": 0,
        "token_period": 0,
        "token_num_uses": 0,
        "token_bound_cidrs": list(networks.cidrs),
        "bind_secret_id": True,
        "local_secret_ids": True,
        "secret_id_ttl": CEREMONY_SECRET_TTL if ceremony else 0,
        "secret_id_num_uses": 1 if ceremony else 0,
        "secret_id_bound_cidrs": list(networks.cidrs),
    }
