# api: makes station passwords, signs access tokens.
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

path "csms/data/pepper" {
  capabilities = ["read"]
}

path "transit/sign/csms-tokens" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-tokens/sha2-256" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-tokens" {
  capabilities = ["read"]
}
