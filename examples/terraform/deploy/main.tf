# Terraform 1.10 with the Vault provider from 5.8 on: an ephemeral read is in no plan and no state, as that of a
# data source is.
terraform {
  required_version = ">= 1.10"
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

# Not vault_generic_endpoint, whose ephemeral form writes.
ephemeral "vault_generic_secret" "modal" {
  path = "modal/creds/ci/env"
}

resource "terraform_data" "app" {
  triggers_replace = filesha256("${path.module}/app.py")

  provisioner "local-exec" {
    command     = "modal deploy app.py"
    environment = ephemeral.vault_generic_secret.modal.data # Exactly the variables that Modal's clients read.
  }
}
