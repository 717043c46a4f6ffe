# ceremony: signs with the root, for minutes, by a secret id of one use.
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

path "transit/sign/csms-root" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-root/sha2-384" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-root" {
  capabilities = ["read"]
}

path "transit/keys/csms-issuer-stations" {
  capabilities = ["read"]
}

path "transit/keys/csms-issuer-servers" {
  capabilities = ["read"]
}

# Of certification runs (TLS policy `ocpp-certification`); else the keys do not exist.
path "transit/sign/csms-root-rsa" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-root-rsa/sha2-256" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-root-rsa" {
  capabilities = ["read"]
}

path "transit/keys/csms-issuer-servers-rsa" {
  capabilities = ["read"]
}
