# Roles through Terraform, no token in its state. The second plan is empty because every field is written as the
# engine answers it: durations in seconds, maps as maps.
terraform {
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

# The engine makes the tokens of a managed role, so all of it is here.
resource "vault_generic_endpoint" "ci" {
  path                 = "modal/roles/ci"
  ignore_absent_fields = true # The answer also has the defaults of what is not written here.

  # A write merges: a field that is removed here keeps its value. To return to a default, write it.
  data_json = jsonencode({
    type              = "managed"
    environment_roles = { main = "contributor" }
    refresh_interval  = 300
    rotation_period   = 2592000
  })
}

# An operator brings the token of a static role, with vault write, before and beside Terraform: token_secret here
# would be in the state. What remains is policy.
resource "vault_generic_endpoint" "personal" {
  path                 = "modal/roles/personal"
  ignore_absent_fields = true
  disable_delete       = true # terraform destroy leaves the operator's role alone.

  data_json = jsonencode({
    type             = "static"
    environment      = "main"
    refresh_interval = 300
    grace_period     = 86400
    rotation_period  = 7776000
  })
}
