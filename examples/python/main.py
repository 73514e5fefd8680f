# SPDX-License-Identifier: MPL-2.0
"""A program that takes its Modal tokens from Vault and runs through rotations: each account is one path.

    pip install -r requirements.txt
    VAULT_ADDR=… VAULT_TOKEN=… python3 main.py modal/creds/ci modal/creds/gpu

Without a path it uses what Modal's client finds by itself: environment variables, then the file.
"""

import contextlib
import signal
import sys
import threading

import hvac
import modal

STOP = threading.Event()


def work(account, client):
    """Stands for what the program does at Modal."""
    for environment in modal.Environment.objects.list(client=client):
        print(account, "sees", environment.name, flush=True)


class Handle:
    """The client of one token, and how many calls still use it."""

    def __init__(self, client, token_id):
        self.client, self.token_id, self.calls = client, token_id, 0


class Account:
    """A Modal client that follows the token of one path of Vault."""

    def __init__(self, vault, path):
        self.vault, self.path, self.name = vault, path, path.rsplit("/", 1)[-1]
        self.lock, self.current = threading.Lock(), None
        threading.Thread(target=self.keep, args=[self.read()], daemon=True).start()

    @contextlib.contextmanager
    def use(self):
        """The current client. It stays open until the block ends, whatever is rotated meanwhile."""
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
        """Reads again whenever the answer before said so. While Vault does not answer, the client stays."""
        while not STOP.wait(ttl):
            try:
                ttl = self.read()
            except Exception as error:  # noqa: BLE001
                print(error, file=sys.stderr)
                ttl = 10

    def read(self):
        """Reads the token, swaps the client if it is another one, and returns when to read again."""
        answer = self.vault.read(self.path)
        if answer is None:
            raise LookupError(f"nothing is at {self.path}")
        token = answer["data"]
        if self.current and self.current.token_id == token["token_id"]:
            return token["ttl"]
        # Arguments of the constructor have priority over environment variables, and environment variables over the
        # file. The environment is an argument of the call: modal.App.lookup(…,
        # environment_name=token["environment"]).
        client = modal.Client.from_credentials(token["token_id"], token["token_secret"])
        print(self.name, "has", token["token_id"], flush=True)
        with self.lock:
            old, self.current = self.current, Handle(client, token["token_id"])
        if old:
            self.close_unused(old)
        return token["ttl"]


def main(paths):
    if not paths:
        work("no path", modal.Client.from_env())
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
