# SPDX-License-Identifier: MPL-2.0
"""A program that reads its Modal tokens from Vault and keeps working through rotations. Each argument is the path of
one account.

    pip install -r requirements.txt
    VAULT_ADDR=… VAULT_TOKEN=… python3 main.py modal/creds/ci

Without an argument the program uses the token that Modal's client finds by itself: environment variables, then the
file.
"""

import contextlib
import os
import signal
import sys
import threading

import hvac
import modal

STOP = threading.Event()


def work(account, client):
    """A placeholder for the program's work at Modal."""
    for environment in modal.Environment.objects.list(client=client):
        print(account, "sees", environment.name, flush=True)


class Handle:
    """The client of one token, and the number of calls that still use it."""

    def __init__(self, client, token_id):
        self.client, self.token_id, self.calls = client, token_id, 0


CONSTRUCTING = threading.Lock()  # guards MODAL_SERVER_URL while a client is constructed


def new_client(token):
    """Makes a client of the server that Vault names. An answer without server_url means Modal's own server.

    Arguments of the constructor have priority over environment variables, and environment variables over the file.
    The constructor has no argument for the server, so this function sets the variable. The environment is an
    argument of the call: modal.App.lookup(…, environment_name=token["environment"]).
    """
    with CONSTRUCTING:
        os.environ["MODAL_SERVER_URL"] = token.get("server_url", "https://api.modal.com:443")
        return modal.Client.from_credentials(token["token_id"], token["token_secret"])


class Account:
    """A Modal client that always has the current token of one Vault path."""

    def __init__(self, vault, path):
        self.vault, self.path, self.name = vault, path, path.rsplit("/", 1)[-1]
        self.lock, self.current = threading.Lock(), None
        threading.Thread(target=self.keep, args=[self.read()], daemon=True).start()

    @contextlib.contextmanager
    def use(self):
        """Returns the current client, which stays open until the block ends, even if a rotation happens meanwhile."""
        with self.lock:
            handle = self.current
            handle.calls += 1
        try:
            yield handle.client
        finally:
            with self.lock:
                handle.calls -= 1
            self.close_unused(handle)

    def close_unused(self, handle):
        with self.lock:
            unused = handle is not self.current and handle.calls == 0
        if unused:
            handle.client.close()  # Closing twice does no harm.

    def keep(self, ttl):
        """Reads the token again at the time that the last answer named. If Vault does not answer, the client stays."""
        while not STOP.wait(ttl):
            try:
                ttl = self.read()
            except Exception as error:  # noqa: BLE001
                print(error, file=sys.stderr)
                ttl = 10

    def read(self):
        """Reads the token, replaces the client if the token changed, and returns the time until the next read."""
        # Client.read hides Vault's text about a path that does not exist.
        token = self.vault.adapter.get(f"/v1/{self.path}")["data"]
        if self.current and self.current.token_id == token["token_id"]:
            return token["ttl"]
        client = new_client(token)
        print(self.name, "has", token["token_id"], flush=True)
        with self.lock:
            old, self.current = self.current, Handle(client, token["token_id"])
        if old:
            self.close_unused(old)
        return token["ttl"]


def main(paths):
    if not paths:
        work("the token of the environment or the file", modal.Client.from_env())
        return
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: STOP.set())
    vault = hvac.Client()  # VAULT_ADDR, VAULT_TOKEN
    accounts = [Account(vault, path) for path in paths]
    while not STOP.wait(1):
        for account in accounts:
            with account.use() as client:
                work(account.name, client)


if __name__ == "__main__":
    main(sys.argv[1:])
