# Finds the owner of a token from its ID, and how to revoke it. For people who answer alarms. It returns no secret.
path "modal/lookup" {
  capabilities = ["update"]
}
