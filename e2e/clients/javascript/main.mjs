#!/usr/bin/env node
// SPDX-License-Identifier: MPL-2.0

// This is a program as a user of Modal would write it. Modal's JavaScript SDK takes the token from the environment
// or from the file that MODAL_CONFIG_PATH names. The program prints the environments that it sees.
import { ModalClient } from "modal";

const client = new ModalClient();
try {
  for await (const environment of client.environments.objects.list()) {
    console.log(environment.name);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  client.close();
}
