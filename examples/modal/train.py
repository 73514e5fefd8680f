# SPDX-License-Identifier: MPL-2.0
"""A Modal Function that has no stored secret. It logs in to Vault with the identity of its container, and reads a Modal
token of its own.

    VAULT_ADDR=https://vault.example.com:8200 modal run train.py
"""

import os

import modal

app = modal.App("train")


def work(client):
    """A placeholder for the program's work at Modal."""
    for environment in modal.Environment.objects.list(client=client):
        print("train sees", environment.name, flush=True)


@app.function(
    image=modal.Image.debian_slim().pip_install("hvac==2.4.*"),
    env={"VAULT_ADDR": os.environ.get("VAULT_ADDR")},
    timeout=600,  # not longer than token_ttl of the login role, because the token ends with the login
)
def train():
    import hvac  # the image has it

    vault = hvac.Client()  # VAULT_ADDR
    try:
        vault.auth.jwt.jwt_login(role="train", jwt=os.environ["MODAL_IDENTITY_TOKEN"], path="jwt-modal")
        # Client.read hides Vault's text about a path that does not exist.
        token = vault.adapter.get("/v1/modal/creds/job")["data"]
    except hvac.exceptions.VaultError as error:
        # The caller of this Function may not have hvac, and then could not read hvac's exception.
        raise RuntimeError(f"Vault refused: {error}") from None
    print("train has", token["token_id"], flush=True)
    if "server_url" in token:  # Vault names a server only if it is not Modal's own.
        os.environ["MODAL_SERVER_URL"] = token["server_url"]
    try:
        # In a container of Modal's, the environment and the file do not count: only these arguments do.
        client = modal.Client.from_credentials(token["token_id"], token["token_secret"])
        work(client)
        client.close()
    finally:
        vault.auth.token.revoke_self()  # also ends the lease, so the engine deletes the token


@app.local_entrypoint()
def main():
    train.remote()
