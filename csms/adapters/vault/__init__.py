"""Vault or OpenBao for the running roles and for `csms vault apply|verify`.

connection    identities, errors, one synchronous connection
session       login, renewal, calls from the event loop
plan          what should stand there: keys, mounts, AppRoles
policy        reading policies and refusing over-wide ones
provisioning  making it stand there
identities    role id and secret id files, the ceremony's identity
verification  looking whether it still does
pepper        the pepper of station passwords
signing       token and audit signatures
"""

from csms.adapters.vault.connection import (
    VaultConnection,
    VaultCredentials,
    VaultError,
    VaultRefused,
    VaultRejected,
    VaultSettings,
    VaultUnavailable,
)
from csms.adapters.vault.identities import ceremony_credentials, settings_from
from csms.adapters.vault.pepper import Peppers, read_pepper
from csms.adapters.vault.plan import Key, Networks, Role
from csms.adapters.vault.policy import PolicyTooWide, PolicyUnreadable
from csms.adapters.vault.provisioning import (
    ApplyReport,
    Item,
    Outcome,
    apply,
)
from csms.adapters.vault.session import VaultSession
from csms.adapters.vault.signing import Signature, TransitAuditSigner, TransitTokenSigner
from csms.adapters.vault.verification import Finding, Problem, verify

__all__ = [
    "ApplyReport",
    "Finding",
    "Item",
    "Key",
    "Networks",
    "Outcome",
    "Peppers",
    "PolicyTooWide",
    "PolicyUnreadable",
    "Problem",
    "Role",
    "Signature",
    "TransitAuditSigner",
    "TransitTokenSigner",
    "VaultConnection",
    "VaultCredentials",
    "VaultError",
    "VaultRefused",
    "VaultRejected",
    "VaultSession",
    "VaultSettings",
    "VaultUnavailable",
    "apply",
    "ceremony_credentials",
    "read_pepper",
    "settings_from",
    "verify",
]
