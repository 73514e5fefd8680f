// SPDX-License-Identifier: MPL-2.0

// A program that takes its Modal tokens from Vault and runs through rotations: each account is one path.
//
//   npm install && npm run build
//   VAULT_ADDR=… VAULT_TOKEN=… npm start modal/creds/ci modal/creds/gpu
//
// Without a path it uses what Modal's client finds by itself: environment variables, then the file.
import { setTimeout as sleep } from "node:timers/promises";
import { ModalClient } from "modal";

/** What of modal/creds/<role> the program needs. */
interface Token {
  token_id: string;
  token_secret: string;
  environment?: string;
  ttl: number;
}

/** The client of one token, and how many calls still use it. */
interface Handle {
  client: ModalClient;
  tokenId: string;
  calls: number;
}

const stop = new AbortController();

/** Stands for what the program does at Modal. */
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
    throw new Error(`Vault answers ${answer.status} for ${path}`);
  }
  return ((await answer.json()) as { data: Token }).data;
}

/** A Modal client that follows the token of one path of Vault. */
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

  /** Calls with the current client. It stays open until the call is over, whatever is rotated meanwhile. */
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

  /** Reads again whenever the answer before said so. While Vault does not answer, the client stays. */
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

  /** Reads the token, swaps the client if it is another one, and returns when to read again. */
  async #read(): Promise<number> {
    const token = await readVault(this.path);
    const old = this.#current;
    if (old?.tokenId === token.token_id) {
      return token.ttl;
    }
    // What the constructor is given counts before environment variables, and those before the file.
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
    await work("no path", client);
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
