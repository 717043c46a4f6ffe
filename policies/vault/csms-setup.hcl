# setup: the bundled server's administrator for the minutes of its first start, then deleted.
# Who may write policies may do anything in the end; the narrow paths stop mistakes, not malice.
path "sys/auth" {
  capabilities = ["read"]
}
path "sys/mounts" {
  capabilities = ["read"]
}
path "sys/mounts/transit" {
  capabilities = ["create", "update"]
}
path "sys/mounts/csms" {
  capabilities = ["create", "update"]
}
path "sys/policies/acl/csms-*" {
  capabilities = ["create", "read", "update"]
}
path "transit/keys/csms-*" {
  capabilities = ["create", "read", "update"]
}
path "csms/metadata/pepper" {
  capabilities = ["read"]
}
path "csms/data/pepper" {
  capabilities = ["create"]
}
path "auth/approle/role/csms-*" {
  capabilities = ["create", "read", "update"]
}
