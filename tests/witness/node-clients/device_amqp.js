// Runs Microsoft's device client for Node.js over AMQP and over AMQP on WebSockets, unmodified, with its service client
// on the other side.
//
// Environment:
//   HUB_CONNECTION_STRING  a policy with all permissions
//   CERTIFICATE, KEY       a self-signed certificate and its key in PEM
//   FORWARD                see forward.cjs

'use strict';

const { X509Certificate } = require('node:crypto');
const { NoRetry } = require('azure-iot-common');
const { Client, Message, ModuleClient } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const service = require('azure-iothub');
const { assert, check, event, main, refused, until } = require('./checks.js');

const connection = process.env.HUB_CONNECTION_STRING;
const registry = service.Registry.fromConnectionString(connection);
const { CERTIFICATE, KEY } = process.env;
const PROPERTIES = { level: '5', 'größe & more': 'a=b&c' };

/** Opens a client that gives up at once. */
async function open(client) {
  client.setRetryPolicy(new NoRetry());
  await client.open();
  return client;
}

async function connected(deviceId) {
  const state = async () => (await registry.get(deviceId)).responseBody.connectionState;
  await until(state, (it) => it === 'Connected', 'the connection');
}

function message(text) {
  const made = new Message(text);
  made.messageId = text;
  made.correlationId = 'c';
  made.contentType = 'application/json';
  made.contentEncoding = 'utf-8';
  Object.entries(PROPERTIES).forEach(([name, value]) => made.properties.add(name, value));
  return made;
}

/** Sends a message to a device, and returns the status in its feedback. */
async function sent(back, deviceId, text, settle) {
  const receiver = (await back.getFeedbackReceiver()).result ?? (await back.getFeedbackReceiver());
  const feedback = event(receiver, 'message', (batch) => batch.data.toString().includes(`"${text}"`));
  const outgoing = message(text);
  outgoing.ack = 'full';
  await back.send(deviceId, outgoing);
  await settle();
  const batch = JSON.parse((await feedback).data.toString());
  return batch.find((one) => one.originalMessageId === text).statusCode;
}

for (const [name, transport] of [['AMQP', Amqp], ['WebSockets', AmqpWs]]) {
  const deviceId = `device-${name}`;
  let client;
  let back;
  let device;

  check(`${name}: a device sends telemetry`, async () => {
    device = (await registry.create({ deviceId })).responseBody;
    const key = device.authentication.symmetricKey.primaryKey;
    client = await open(Client.fromConnectionString(`HostName=localhost;DeviceId=${deviceId};SharedAccessKey=${key}`, transport));
    await client.sendEvent(message('{"n":1}'));
    await client.sendEvent(new Message(Buffer.from([0, 255])));
    await connected(deviceId);
  });

  check(`${name}: a message is abandoned, comes again, and is completed`, async () => {
    back = service.Client.fromConnectionString(connection);
    await back.open();
    // The client detaches its link with the last listener.
    client.on('message', () => {});
    const status = await sent(back, deviceId, 'twice', async () => {
      const first = await event(client, 'message');
      assert.equal(first.data.toString(), 'twice');
      assert.deepEqual([first.messageId, first.correlationId, first.contentType], ['twice', 'c', 'application/json']);
      assert.equal(first.to, `/devices/${deviceId}/messages/devicebound`);
      for (const [name, value] of Object.entries(PROPERTIES)) assert.equal(first.properties.getValue(name), value);
      const again = event(client, 'message');
      await client.abandon(first);
      await client.complete(await again);
    });
    assert.equal(status, 'Success');
  });

  check(`${name}: a message is rejected`, async () => {
    const status = await sent(back, deviceId, 'unwanted', async () => client.reject(await event(client, 'message')));
    assert.equal(status, 'Rejected');
  });

  check(`${name}: a method is called`, async () => {
    const params = { methodName: 'stop', payload: { hard: true }, responseTimeoutInSeconds: 10 };
    const offline = await refused(() => registryMethod(params));
    assert.match(offline.responseBody, /404103/);
    await new Promise((resolve, reject) => {
      client.onDeviceMethod('stop', (request, response) => {
        response.send(207, { was: request.payload }, (error) => error && reject(error));
      });
      setTimeout(resolve, 500);
    });
    const { result } = await back.invokeDeviceMethod(deviceId, { ...params, connectTimeoutInSeconds: 10 });
    assert.deepEqual(result, { status: 207, payload: { was: { hard: true } } });
  });

  /** Calls a method without the client's retries. */
  function registryMethod(params) {
    const once = service.Client.fromConnectionString(connection);
    once.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => -1 });
    return once.invokeDeviceMethod(deviceId, params);
  }

  check(`${name}: the twin is read, reported and changed`, async () => {
    const twin = await client.getTwin();
    assert.equal(twin.properties.desired.$version, 1);
    const report = (patch) =>
      new Promise((resolve, reject) => {
        twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
      });
    await report({ speed: 3, gone: 1 });
    await report({ gone: null });
    const { responseBody } = await registry.getTwin(deviceId);
    assert.deepEqual([responseBody.properties.reported.speed, responseBody.properties.reported.gone], [3, undefined]);
    // The first notice is the twin as it was read.
    await event(twin, 'properties.desired');
    const notice = event(twin, 'properties.desired', (delta) => delta.limit !== undefined);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await registry.updateTwin(deviceId, { properties: { desired: { limit: { high: 9 } } } }, '*');
    const delta = await notice;
    assert.deepEqual([delta.limit, delta.$version], [{ high: 9 }, 2]);
    await refused(() => report({ bad: 'x'.repeat(5000) }));
  });

  check(`${name}: a module sends telemetry, answers a method and reads its twin`, async () => {
    const { responseBody: module } = await registry.addModule({ deviceId, moduleId: 'axis' });
    const key = module.authentication.symmetricKey.primaryKey;
    const text = `HostName=localhost;DeviceId=${deviceId};ModuleId=axis;SharedAccessKey=${key}`;
    const axis = await open(ModuleClient.fromConnectionString(text, transport));
    await axis.sendEvent(message('{"m":1}'));
    await axis.sendOutputEvent('out', message('{"m":2}'));
    axis.onMethod('turn', (request, response) => response.send(200, request.payload));
    const params = { methodName: 'turn', payload: [1], connectTimeoutInSeconds: 10 };
    assert.deepEqual((await back.invokeDeviceMethod(deviceId, 'axis', params)).result, { status: 200, payload: [1] });
    const twin = await axis.getTwin();
    assert.equal(twin.properties.reported.$version, 1);
    await axis.close();
  });

  check(`${name}: a wrong key is refused`, async () => {
    const text = `HostName=localhost;DeviceId=${deviceId};SharedAccessKey=${Buffer.alloc(32).toString('base64')}`;
    await refused(() => open(Client.fromConnectionString(text, transport)), 'UnauthorizedError');
  });

  check(`${name}: a device with a certificate needs no token`, async () => {
    const primaryThumbprint = new X509Certificate(CERTIFICATE).fingerprint256.replaceAll(':', '');
    const authentication = { type: 'selfSigned', x509Thumbprint: { primaryThumbprint } };
    await registry.create({ deviceId: `certified-${name}`, authentication });
    const text = `HostName=localhost;DeviceId=certified-${name};x509=true`;
    const certified = Client.fromConnectionString(text, transport);
    await certified.setOptions({ cert: CERTIFICATE, key: KEY });
    await open(certified);
    await certified.sendEvent(message('{"x":1}'));
    await certified.close();
    // Another device's certificate opens nothing.
    const stranger = Client.fromConnectionString(`HostName=localhost;DeviceId=${deviceId};x509=true`, transport);
    await stranger.setOptions({ cert: CERTIFICATE, key: KEY });
    await open(stranger);
    await refused(() => stranger.sendEvent(message('{"x":2}')), 'UnauthorizedError');
  });

  check(`${name}: a device that is disabled is disconnected`, async () => {
    assert.ok(client, 'the device is open');
    const gone = event(client, 'disconnect');
    await registry.update({ ...device, status: 'disabled' });
    await gone;
    await back.close();
  });
}

main();
