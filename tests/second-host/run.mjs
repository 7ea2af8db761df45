// Runs a connector in Node.js: transpiles the component, calls some of its functions, and writes what they answered as
// JSON. Requests of the guest go through the WASI shim's worker thread, over Node's own TLS.
//
// Environment: COMPONENT (file), CONNECTION (the linked account, JSON), RESULT (file to write), NODE_EXTRA_CA_CERTS.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { transpile, writeFiles } from "@bytecodealliance/jco-transpile";

const needed = (name) => {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
};

const outDir = join(dirname(fileURLToPath(import.meta.url)), "transpiled");
const { files } = await transpile(needed("COMPONENT"), { name: "connector", outDir, emitTypescriptDeclarations: false });
await writeFiles(files, false);
const { action, connection: accounts, lifecycle, metadata, trigger } = await import(pathToFileURL(join(outDir, "connector.js")).href);

// As the other host writes its JSON: bytes in base64, variants by their case, 64-bit numbers as numbers.
const plain = (value) => {
  if (typeof value === "bigint") {
    return Number(value);
  }
  if (value instanceof Uint8Array) {
    return Buffer.from(value).toString("base64");
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (value !== null && typeof value === "object") {
    if (typeof value.tag === "string") {
      return value.val === undefined ? value.tag : { [value.tag]: plain(value.val) };
    }
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
};

// An error of the interface is thrown: as the record, or with the record in it.
const attempt = (call) => {
  try {
    return { ok: plain(call()) };
  } catch (error) {
    const record = error?.payload ?? error;
    if (record?.code === undefined || record.retry === undefined) {
      throw error;
    }
    return { err: plain(record) };
  }
};

const { authProfile, values } = JSON.parse(needed("CONNECTION"));
const connection = { authProfile, values: JSON.stringify(values) };
const invoke = (id, input) =>
  attempt(() => action.invoke(connection, id, JSON.stringify(input), { attempt: 1, deadlineMs: 30_000n, dryRun: false }));
const poll = (id, cursor) =>
  attempt(() =>
    trigger.poll({
      connection,
      trigger: id,
      partition: "all",
      config: "{}",
      start: { tag: "earliest" },
      onPositionLost: "stop",
      cursor,
      budget: { events: 1000, bytes: 8n << 20n, waitMs: 0n, deadlineMs: 30_000n },
    }),
  );

const result = {
  describe: plain(metadata.describe()),
  again: plain(metadata.describe()),
  validate: plain(accounts.validate(connection)),
  created: invoke("create-device", { deviceId: "from-node", status: "disabled" }),
  got: invoke("get-device", { deviceId: "from-node" }),
  missing: invoke("get-device", { deviceId: "missing" }),
  senseless: invoke("create-device", { deviceId: 1, nonsense: true }),
  twins: poll("device-twin-changed"),
  enrollments: poll("individual-enrollment-changed"),
};
lifecycle.release();
result.gotAfterRelease = invoke("get-device", { deviceId: "from-node" });
writeFileSync(needed("RESULT"), JSON.stringify(result));
