# Reads one form of the role ci, here the environment as one text: for Nomad, the Agent injector and shells.
path "modal/creds/ci/dotenv" {
  capabilities = ["read"]
}
