# Roles managed by Terraform, without a token in its state. The second plan is empty because every field is written
# in the form of the engine's answer: durations in seconds, maps as maps.
terraform {
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

# The engine creates the tokens of a managed role, so this resource needs no secret.
resource "vault_generic_endpoint" "ci" {
  path                 = "modal/roles/ci"
  ignore_absent_fields = true # the answer also contains the defaults of other fields

  # A write merges: if you remove a field here, the role keeps its value. To restore a default, write the default.
  data_json = jsonencode({
    type              = "managed"
    environment_roles = { main = "contributor" }
    refresh_interval  = 300
    rotation_period   = 2592000
  })
}

# An operator supplies the token of a static role with vault write, before or besides Terraform. A token_secret in
# this file would enter the state. Terraform manages only the settings.
resource "vault_generic_endpoint" "personal" {
  path                 = "modal/roles/personal"
  ignore_absent_fields = true
  disable_delete       = true # terraform destroy does not delete the operator's role

  data_json = jsonencode({
    type             = "static"
    environment      = "main"
    refresh_interval = 300
    grace_period     = 86400
    rotation_period  = 7776000
  })
}
