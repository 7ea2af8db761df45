// Microsoft's clients of devices for Node.js, unmodified, at the emulator by MQTT, MQTT over WebSockets and HTTPS.
//
// DEVICE_PLAN is the same plan that device_sdk.py reads. NODE_EXTRA_CA_CERTS names the emulator's authority, because
// uploads and provisioning have no other way to be told of it.

const { Client, ModuleClient, Message } = require("azure-iot-device");
const transports = require("azure-iot-device-mqtt");
const { ProvisioningDeviceClient } = require("azure-iot-provisioning-device");
const registrations = require("azure-iot-provisioning-device-mqtt");
const { Http } = require("azure-iot-provisioning-device-http");
const { SymmetricKeySecurityClient } = require("azure-iot-security-symmetric-key");
const { X509Security } = require("azure-iot-security-x509");

const plan = JSON.parse(process.env.DEVICE_PLAN);
const Transport = plan.webSockets ? transports.MqttWs : transports.Mqtt;
const PATIENCE = 40_000;
let passed = 0;
let failed = 0;

function check(name, condition, detail) {
  if (condition) {
    passed += 1;
    console.log(`ok ${name}`);
  } else {
    failed += 1;
    console.log(`FAILED ${name}: ${detail instanceof Error ? detail.stack : JSON.stringify(detail)}`);
  }
}

function inTime(name, promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} did not happen in time`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function report(twin, patch) {
  return new Promise((resolve, reject) =>
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve())),
  );
}

async function device() {
  const client = Client.fromConnectionString(plan.device, Transport);
  await client.setOptions({ ca: plan.ca });
  await client.open();
  check("connected", true);

  const message = new Message('{"temperature": 21.5}');
  message.messageId = "node-1";
  message.correlationId = "correlation-1";
  message.contentType = "application/json";
  message.contentEncoding = "utf-8";
  message.properties.add("a b", "c&d");
  await client.sendEvent(message);
  check("telemetry", true);

  const method = new Promise((resolve) =>
    client.onDeviceMethod("reboot", (request, response) => {
      response.send(207, { done: true }, (error) => resolve(error ?? request.payload));
    }),
  );
  const received = new Promise((resolve) => client.on("message", resolve));
  const twin = await client.getTwin();
  check("twin", twin.properties.desired.speed === 3, twin.properties);
  const changed = new Promise((resolve) =>
    twin.on("properties.desired", (patch) => patch.speed === 4 && resolve(patch)),
  );
  await report(twin, { firmware: "1.2", gone: null });
  check("reported", true);
  // The back end waits for this property before it acts.
  await report(twin, { ready: plan.webSockets });
  const payload = await inTime("the method", method);
  check("method", payload.delay === 5, payload);
  const patch = await inTime("the change", changed);
  check("desired", "$version" in patch, patch);
  const got = await inTime("the message", received);
  check("message", got.data.toString() === '"hello"' && got.messageId === "c2d-1", got);
  check("message properties", got.properties.getValue("colour") === "blue & red", got.properties);
  await client.complete(got);

  // Over HTTPS: the hub names a blob, and the blob's service is called without the client's own options.
  await client.uploadToBlob("logs/day 1.txt", require("node:stream").Readable.from([Buffer.from("a file")]), 6);
  check("file", true);
  await client.close();
}

async function moduleClient() {
  const client = ModuleClient.fromConnectionString(plan.module, Transport);
  await client.setOptions({ ca: plan.ca });
  await client.open();
  await client.sendOutputEvent("out1", new Message("from a module"));
  const twin = await client.getTwin();
  check("module", twin.properties.desired !== undefined, twin.properties);
  await client.close();
}

// By MQTT this client takes a port in its connection string.
async function deviceAtPort() {
  const client = Client.fromConnectionString(plan.deviceAtPort, Transport);
  await client.setOptions({ ca: plan.ca });
  await client.open();
  await client.sendEvent(new Message("by a port"));
  check("connected by a port", true);
  await client.close();
}

async function provision(name, entry, transport) {
  const x509 = "certificate" in entry ? { cert: entry.certificate, key: entry.key } : undefined;
  const security = x509
    ? new X509Security(entry.registration, x509)
    : new SymmetricKeySecurityClient(entry.registration, entry.symmetricKey);
  const result = await new Promise((resolve, reject) =>
    ProvisioningDeviceClient.create(plan.dpsHost, plan.scope, transport, security).register((error, result) =>
      error ? reject(error) : resolve(result),
    ),
  );
  check(`registered with ${name}`, result.status === "assigned", result);
  const address = `HostName=${result.assignedHub};DeviceId=${result.deviceId}`;
  const string = x509 ? `${address};x509=true` : `${address};SharedAccessKey=${entry.symmetricKey}`;
  const client = Client.fromConnectionString(string, Transport);
  await client.setOptions({ ca: plan.ca, ...(x509 ?? {}) });
  await client.open();
  await client.sendEvent(new Message(`from ${entry.registration}`));
  check(`connected with ${name}`, true);
  await client.close();
}

async function main() {
  const Mqtt = plan.webSockets ? registrations.MqttWs : registrations.Mqtt;
  const steps = [
    ["device", device],
    ["module", moduleClient],
  ];
  if (!plan.webSockets) {
    steps.push(["device at a port", deviceAtPort]);
  }
  for (const [name, entry] of Object.entries(plan.provision)) {
    steps.push([`provisioning with ${name}`, () => provision(name, entry, new Mqtt())]);
    steps.push([`provisioning with ${name} by HTTPS`, () => provision(`${name} by HTTPS`, entry, new Http())]);
  }
  for (const [name, step] of steps) {
    try {
      await inTime(name, step(), 120_000);
    } catch (error) {
      check(name, false, error);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
