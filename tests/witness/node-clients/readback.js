// Microsoft's clients for Node.js, unmodified, read back what somebody else wrote, and connect as devices with the keys,
// connection strings and tokens that somebody else made.
//
// Environment:
//   PLAN_JSON              a file with a list of {"name", "call", "arguments", "expected"} or, instead of `expected`,
//                          {"refused": the status of the refusal}. Objects may hold more than is expected.
//   HUB_CONNECTION_STRING  a policy of the hub with all permissions
//   DPS_CONNECTION_STRING  a policy of the provisioning service with all permissions
//   ID_SCOPE               the provisioning service's id scope
//   FORWARD                see forward.cjs

'use strict';

const { readFileSync } = require('node:fs');
const { NoRetry } = require('azure-iot-common');
const { Client, Message, ModuleClient, SharedAccessSignatureAuthenticationProvider } = require('azure-iot-device');
const { Amqp } = require('azure-iot-device-amqp');
const { Http } = require('azure-iot-device-http');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const registration = require('azure-iot-provisioning-device-amqp');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { DigitalTwinClient, IoTHubTokenCredentials, JobClient, Registry } = require('azure-iothub');
const { assert, check, event, main } = require('./checks.js');

const { DPS_CONNECTION_STRING, HUB_CONNECTION_STRING, ID_SCOPE, PLAN_JSON } = process.env;
const registry = Registry.fromConnectionString(HUB_CONNECTION_STRING);
const jobs = JobClient.fromConnectionString(HUB_CONNECTION_STRING);
const twins = new DigitalTwinClient(new IoTHubTokenCredentials(HUB_CONNECTION_STRING));
const provisioning = ProvisioningServiceClient.fromConnectionString(DPS_CONNECTION_STRING);

const body = async (answer) => (await answer).responseBody;
const by = (name, items) => Object.fromEntries(items.map((item) => [item[name], item]));

/** A connection string for the well-known ports, which are forwarded. */
const wellKnown = (text) => text.replace(/^HostName=[^;]*/, 'HostName=localhost');

/** Connects, does something, and disconnects. */
async function connected(client, run) {
  client.setRetryPolicy(new NoRetry());
  await client.open();
  try {
    return (await run(client)) ?? {};
  } finally {
    await client.close();
  }
}

const send = (client, text) => connected(client, async () => void (await client.sendEvent(new Message(text))));

/** What a client makes of a token that somebody else signed. Only the host is changed: it has a port of its own. */
function withToken(token) {
  const provider = SharedAccessSignatureAuthenticationProvider.fromSharedAccessSignature(token);
  const credentials = provider.getDeviceCredentials.bind(provider);
  provider.getDeviceCredentials = (done) => credentials((error, found) => done(error, found && { ...found, host: 'localhost' }));
  return provider;
}

const calls = {
  get_device: (device) => body(registry.get(device)),
  get_module: (device, module) => body(registry.getModule(device, module)),
  get_modules: async (device) => by('moduleId', await body(registry.getModulesOnDevice(device))),
  get_twin: (device) => body(registry.getTwin(device)),
  get_module_twin: (device, module) => body(registry.getModuleTwin(device, module)),
  get_registry_statistics: () => body(registry.getRegistryStatistics()),
  get_job: async (job) => (await jobs.getJob(job)).jobStatus,
  get_import_export_job: (job) => registry.getJob(job),
  get_import_export_jobs: async () => by('jobId', await body(registry.listJobs())),
  get_configuration: (name) => body(registry.getConfiguration(name)),
  get_configurations: async () => by('id', await body(registry.getConfigurations())),
  get_digital_twin: async (device) => {
    // The client adds its whole response to the twin.
    const { _response, ...twin } = await twins.getDigitalTwin(device);
    return twin;
  },
  get_enrollment: (id) => body(provisioning.getIndividualEnrollment(id)),
  get_enrollment_attestation: (id) => body(provisioning.getIndividualEnrollmentAttestationMechanism(id)),
  get_enrollment_group: (id) => body(provisioning.getEnrollmentGroup(id)),
  get_enrollment_group_attestation: (id) => body(provisioning.getEnrollmentGroupAttestationMechanism(id)),
  get_registration_state: (id) => body(provisioning.getDeviceRegistrationState(id)),
  send_as_device: (text, event) => send(Client.fromConnectionString(wellKnown(text), Amqp), event),
  send_as_device_by_https: async (text, event) => {
    const client = Client.fromConnectionString(wellKnown(text), Http);
    await client.open();
    await client.sendEvent(new Message(event));
    return {};
  },
  send_as_module: (text, event) => send(ModuleClient.fromConnectionString(wellKnown(text), Amqp), event),
  send_with_token: (token, event) => send(Client.fromAuthenticationProvider(withToken(token), Amqp), event),
  send_as_module_with_token: (token, event) =>
    send(ModuleClient.fromAuthenticationProvider(withToken(token), Amqp), event),
  receive_as_device: (text) =>
    connected(Client.fromConnectionString(wellKnown(text), Amqp), async (client) => {
      // The client detaches its link with the last listener.
      const first = event(client, 'message');
      client.on('message', () => {});
      const message = await first;
      await client.complete(message);
      const properties = Object.fromEntries(message.properties.propertyList.map(({ key, value }) => [key, value]));
      return { messageId: message.messageId, body: message.data.toString(), properties };
    }),
  register: async (id, key, event) => {
    const security = new SymmetricKeySecurityClient(id, key);
    const client = ProvisioningDeviceClient.create('localhost', ID_SCOPE, new registration.Amqp(), security);
    const state = await client.register();
    const text = `HostName=localhost;DeviceId=${state.deviceId};SharedAccessKey=${key}`;
    await send(Client.fromConnectionString(text, Amqp), event);
    return state;
  },
};

/** Objects may hold more than is wanted; everything else must be equal. */
function contains(actual, wanted, path) {
  if (wanted && actual && [wanted, actual].every((one) => typeof one === 'object' && !Array.isArray(one))) {
    for (const [name, value] of Object.entries(wanted)) contains(actual[name], value, `${path}.${name}`);
  } else {
    assert.deepEqual(actual, wanted, `${path}: got ${JSON.stringify(actual)}, wanted ${JSON.stringify(wanted)}`);
  }
}

for (const { name, call, arguments: given, expected, refused } of JSON.parse(readFileSync(PLAN_JSON, 'utf8'))) {
  check(name, async () => {
    let answer;
    try {
      answer = await calls[call](...given);
    } catch (error) {
      if (refused === undefined || !error.response) throw error;
      assert.equal(error.response.statusCode, refused, error.message);
      return;
    }
    assert.equal(refused, undefined, 'was not refused');
    contains(JSON.parse(JSON.stringify(answer)), expected, call);
  });
}

main();
