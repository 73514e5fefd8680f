# Rotates the managed role ci, now or back, without reading its token. Not with grace_period, which could end the old
# token at once.
path "modal/rotate/ci" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "to_previous" = [], "dry_run" = [] }
}
