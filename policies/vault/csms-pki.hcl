# pki: signs with the issuing keys, never with the root.
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

path "transit/sign/csms-issuer-stations" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-issuer-stations/sha2-256" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-issuer-stations" {
  capabilities = ["read"]
}

path "transit/sign/csms-issuer-servers" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-issuer-servers/sha2-256" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-issuer-servers" {
  capabilities = ["read"]
}

# Of certification runs (TLS policy `ocpp-certification`); else the key does not exist.
path "transit/sign/csms-issuer-servers-rsa" {
  capabilities = ["update"]
  # One request, one signature: the audit file counts what was signed.
  denied_parameters = {
    "batch_input" = []
  }
}
path "transit/sign/csms-issuer-servers-rsa/sha2-256" {
  capabilities = ["update"]
  denied_parameters = {
    "batch_input" = []
  }
}

path "transit/keys/csms-issuer-servers-rsa" {
  capabilities = ["read"]
}
