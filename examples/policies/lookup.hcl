# Tells whose a token is, from its ID, and how to revoke it: for whoever answers alarms. It returns no secret.
path "modal/lookup" {
  capabilities = ["update"]
}
