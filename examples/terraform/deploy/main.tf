# Terraform 1.10 with the Vault provider 5.8 or later. An ephemeral read leaves no secret in the plan or the state.
# A data source would write the secret into both.
terraform {
  required_version = ">= 1.10"
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

# Do not use vault_generic_endpoint here: its ephemeral form writes.
ephemeral "vault_generic_secret" "modal" {
  path = "modal/creds/ci/env"
}

resource "terraform_data" "app" {
  triggers_replace = filesha256("${path.module}/app.py")

  provisioner "local-exec" {
    command     = "modal deploy app.py"
    environment = ephemeral.vault_generic_secret.modal.data # exactly the variables that Modal's clients read
  }
}
