# provisioner: makes what is missing, at exactly our names, and reads what is there to verify it.
# It cannot sign, read or overwrite the pepper, write a policy or an AppRole, or make a secret id:
# hence it cannot widen itself.
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

path "sys/auth" {
  capabilities = ["read"]
}
path "sys/mounts" {
  capabilities = ["read"]
}
path "sys/mounts/transit" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["transit"]
  }
}
path "sys/mounts/csms" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "type" = ["kv"]
    "options" = []
  }
}

# Only the type may be given, so that no key is born exportable. `/config`, `/rotate`, `/trim`,
# `import` and `restore` are other paths. Writing to a key that exists changes nothing.
path "transit/keys/csms-root" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ecdsa-p384"]
  }
}
path "transit/keys/csms-issuer-stations" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ecdsa-p256"]
  }
}
path "transit/keys/csms-issuer-servers" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ecdsa-p256"]
  }
}
path "transit/keys/csms-root-rsa" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["rsa-3072"]
  }
}
path "transit/keys/csms-issuer-servers-rsa" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["rsa-3072"]
  }
}
path "transit/keys/csms-audit" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ed25519"]
  }
}
path "transit/keys/csms-tokens" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["ecdsa-p256"]
  }
}

# `create` without `update`: the first pepper can be written, no later one.
path "csms/data/pepper" {
  capabilities = ["create"]
}
path "csms/metadata/pepper" {
  capabilities = ["read"]
}

path "sys/policies/acl" {
  capabilities = ["list"]
}
path "auth/approle/role" {
  capabilities = ["list"]
}
path "sys/policies/acl/csms-gateway" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-gateway" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-api" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-api" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-worker" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-worker" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-files" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-files" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-pki" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-pki" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-ceremony" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-ceremony" {
  capabilities = ["read"]
}
path "sys/policies/acl/csms-provisioner" {
  capabilities = ["read"]
}
path "auth/approle/role/csms-provisioner" {
  capabilities = ["read"]
}

# The bundled server's first start ends with these two, by this identity: csms-setup could not
# finish deleting itself. On any other server neither exists.
path "sys/policies/acl/csms-setup" {
  capabilities = ["delete"]
}
path "auth/approle/role/csms-setup" {
  capabilities = ["delete"]
}
