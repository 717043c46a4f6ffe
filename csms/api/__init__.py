"""The management API: OAuth 2.0 resource server over the operations.

resources    what the routes need, handed over once
access       who may call which route: every route's signature names its scope
problems     one table from errors to problem documents (RFC 9457)
idempotency  Idempotency-Key on POST
refusals     refused accesses in the audit log, bounded
frame        the outermost frame of every request
app          the application; routers/ and schemas/ are its contents
server       HTTPS inside an existing event loop
health       the metrics port
"""
