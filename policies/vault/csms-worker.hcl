# worker: signs audit checkpoints. Ed25519 hashes for itself, so there is no path with a hash.
# The token may look after itself and nothing else (no default policy is attached).
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

path "transit/sign/csms-audit" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-audit" {
  capabilities = ["read"]
}
