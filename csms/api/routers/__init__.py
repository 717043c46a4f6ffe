"""The routes, one module per resource; `GUARDED` is all of them."""

from typing import Final

from csms.api.routers import (
    audit,
    certificates,
    commands,
    oauth_clients,
    operations,
    security_events,
    stations,
)

GUARDED: Final = (
    stations.router,
    commands.router,
    certificates.router,
    security_events.router,
    audit.router,
    operations.router,
    oauth_clients.router,
)
