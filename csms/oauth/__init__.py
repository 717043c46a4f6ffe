"""OAuth 2.0: the embedded authorization server and the check of its access tokens.

signing_keys  the token key's public half, cached; the private half is a `TokenSigner`
decision      may this client have this token? (authlib, no I/O)
endpoints     /oauth/token, /oauth/jwks.json, metadata (RFC 8414)
budget        failures per source
validation    an access token back into a `Principal` (joserfc)
"""
