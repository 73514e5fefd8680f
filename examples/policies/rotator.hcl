# Rotates the managed role ci to a new token or back to the previous one, without reading its token. It does not
# allow grace_period, which could end the old token at once.
path "modal/rotate/ci" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "to_previous" = [], "dry_run" = [] }
}
