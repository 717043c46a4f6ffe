"""The composition root: the only room that knows every concrete class.

product     `csms up`: all roles in one process
pki         `csms pki`: the certification authority as a process of its own
vault       identities of the roles, the ceremony, `csms vault apply|verify`
maintenance `csms migrate`, `csms openapi`

supervision    loops that must not end, and a start that may be stopped
readiness      what /readyz says
administrator  the first OAuth client
"""

from csms.wiring.errors import StartFailed
from csms.wiring.maintenance import migrate, openapi
from csms.wiring.pki import run_pki
from csms.wiring.product import run_product
from csms.wiring.vault import vault_apply, vault_verify

__all__ = [
    "StartFailed",
    "migrate",
    "openapi",
    "run_pki",
    "run_product",
    "vault_apply",
    "vault_verify",
]
