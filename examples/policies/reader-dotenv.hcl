# Reads one form of the role ci, the environment as one text. For Nomad, the Agent injector and shells.
path "modal/creds/ci/dotenv" {
  capabilities = ["read"]
}
