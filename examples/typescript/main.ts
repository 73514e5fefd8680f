// SPDX-License-Identifier: MPL-2.0

// A program that reads its Modal tokens from Vault and keeps working through rotations. Each argument is the path
// of one account.
//
//   npm install && npm run build
//   VAULT_ADDR=… VAULT_TOKEN=… npm start modal/creds/ci
//
// Without an argument the program uses the token that Modal's client finds by itself: environment variables, then
// the file.
import { setTimeout as sleep } from "node:timers/promises";
import { ModalClient } from "modal";

/** The fields of modal/creds/<role> that the program needs. */
interface Token {
  token_id: string;
  token_secret: string;
  environment?: string;
  server_url?: string;
  ttl: number;
}

/** The client of one token, and the number of calls that still use it. */
interface Handle {
  client: ModalClient;
  tokenId: string;
  calls: number;
}

const stop = new AbortController();

/** A placeholder for the program's work at Modal. */
async function work(account: string, client: ModalClient): Promise<void> {
  for await (const environment of client.environments.objects.list()) {
    console.log(account, "sees", environment.name);
  }
}

async function readVault(path: string): Promise<Token> {
  const { VAULT_ADDR, VAULT_TOKEN } = process.env;
  const answer = await fetch(`${VAULT_ADDR}/v1/${path}`, {
    headers: { "X-Vault-Token": VAULT_TOKEN ?? "", "X-Vault-Request": "true" },
    signal: AbortSignal.timeout(30_000),
  });
  if (!answer.ok) {
    throw new Error(`could not read ${path}: Vault answers ${answer.status}: ${await answer.text()}`);
  }
  return ((await answer.json()) as { data: Token }).data;
}

/** A Modal client that always has the current token of one Vault path. */
class Account {
  readonly name: string;
  #current?: Handle;

  private constructor(readonly path: string) {
    this.name = path.split("/").at(-1) ?? path;
  }

  static async open(path: string): Promise<Account> {
    const account = new Account(path);
    void account.#keep(await account.#read());
    return account;
  }

  /** Runs a call with the current client, which stays open until the call is over, even if a rotation happens. */
  async use(call: (client: ModalClient) => Promise<void>): Promise<void> {
    const handle = this.#current!;
    handle.calls++;
    try {
      await call(handle.client);
    } finally {
      handle.calls--;
      this.#closeUnused(handle);
    }
  }

  #closeUnused(handle: Handle): void {
    if (handle !== this.#current && handle.calls === 0) {
      handle.client.close();
    }
  }

  /** Reads the token again at the time that the last answer named. If Vault does not answer, the client stays. */
  async #keep(ttl: number): Promise<void> {
    while (!stop.signal.aborted) {
      await sleep(ttl * 1000, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.signal.aborted) {
        break;
      }
      ttl = await this.#read().catch((error: unknown) => {
        console.error(error);
        return 10;
      });
    }
  }

  /** Reads the token, replaces the client if the token changed, and returns the time until the next read. */
  async #read(): Promise<number> {
    const token = await readVault(this.path);
    const old = this.#current;
    if (old?.tokenId === token.token_id) {
      return token.ttl;
    }
    // Arguments of the constructor have priority over environment variables, and environment variables over the
    // file. The constructor has no argument for the server, so the variable names the server. An answer without
    // server_url means Modal's own server.
    process.env.MODAL_SERVER_URL = token.server_url ?? "https://api.modal.com:443";
    const client = new ModalClient({
      tokenId: token.token_id,
      tokenSecret: token.token_secret,
      environment: token.environment,
    });
    console.log(this.name, "has", token.token_id);
    this.#current = { client, tokenId: token.token_id, calls: 0 };
    if (old) {
      this.#closeUnused(old);
    }
    return token.ttl;
  }

  close(): void {
    this.#current?.client.close();
  }
}

async function main(paths: string[]): Promise<void> {
  if (paths.length === 0) {
    const client = new ModalClient();
    await work("the token of the environment or the file", client);
    client.close();
    return;
  }
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => stop.abort());
  }
  const accounts = await Promise.all(paths.map((path) => Account.open(path)));
  while (!stop.signal.aborted) {
    for (const account of accounts) {
      await account.use((client) => work(account.name, client));
    }
    await sleep(1000, undefined, { signal: stop.signal }).catch(() => {});
  }
  accounts.forEach((account) => account.close());
}

await main(process.argv.slice(2));
