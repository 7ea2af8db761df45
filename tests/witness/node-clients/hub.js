// Runs Microsoft's service client for Node.js, unmodified, through its calls for registry, twins, queries, modules,
// configurations, jobs, digital twins, methods, messages, feedback and file notifications.
//
// Environment:
//   HUB_CONNECTION_STRING  a policy with all permissions
//   FORWARD                see forward.cjs
//
// The device `press-1` exists already. It answers direct methods with their payload, takes its messages, and uploads a
// file when its method `upload` is called.

'use strict';

const { AmqpWs, Client, DigitalTwinClient, IoTHubTokenCredentials, JobClient, Registry } = require('azure-iothub');
const { Message } = require('azure-iot-common');
const { assert, check, event, main, refused, until } = require('./checks.js');

const connection = process.env.HUB_CONNECTION_STRING;
const registry = Registry.fromConnectionString(connection);
const jobs = JobClient.fromConnectionString(connection);
const KEY_1 = 'YWJjZGVmZ2hpamtsbW5vcA==';
const KEY_2 = 'cXJzdHV2d3h5ejAxMjM0NQ==';
const ODD = "witness-1:.+%_#*?!(),=@;$'";

check('a device without authentication gets keys', async () => {
  const { responseBody } = await registry.create({ deviceId: 'plain' });
  const { symmetricKey, type } = responseBody.authentication;
  assert.equal(type, 'sas');
  assert.ok(Buffer.from(symmetricKey.primaryKey, 'base64').length >= 32);
  assert.notEqual(symmetricKey.primaryKey, symmetricKey.secondaryKey);
  await refused(() => registry.create({ deviceId: 'plain' }), 'DeviceAlreadyExistsError');
});

check('devices are created, read, changed and deleted', async () => {
  const authentication = { symmetricKey: { primaryKey: KEY_1, secondaryKey: KEY_2 } };
  await registry.create({ deviceId: ODD, status: 'disabled', statusReason: 'test', authentication });
  const { responseBody: device } = await registry.get(ODD);
  assert.equal(device.authentication.symmetricKey.primaryKey, KEY_1);
  assert.equal(device.status, 'disabled');
  // The whole object goes back, with its read-only and its empty members.
  const { responseBody: changed } = await registry.update({ ...device, status: 'enabled', statusReason: null });
  assert.equal(changed.status, 'enabled');
  assert.equal(changed.authentication.symmetricKey.secondaryKey, KEY_2);
  const x509Thumbprint = { primaryThumbprint: 'A'.repeat(40), secondaryThumbprint: 'B'.repeat(64) };
  const { responseBody: certified } = await registry.create({ deviceId: 'certified', authentication: { x509Thumbprint } });
  assert.equal(certified.authentication.type, 'selfSigned');
  await registry.delete(ODD);
  await refused(() => registry.get(ODD), 'DeviceNotFoundError');
});

check('all devices are listed', async () => {
  const { responseBody } = await registry.list();
  const ids = responseBody.map((device) => device.deviceId);
  assert.ok(['press-1', 'plain', 'certified'].every((id) => ids.includes(id)), ids.join());
});

check('bulk operations add, update and remove', async () => {
  const ids = ['bulk-1', 'bulk-2', 'bulk-3'];
  const all = (change) => ids.map((deviceId) => ({ deviceId, ...change }));
  const done = ({ responseBody }) => assert.deepEqual(responseBody.errors, []) ?? assert.ok(responseBody.isSuccessful);
  done(await registry.addDevices(all({ status: 'enabled' })));
  done(await registry.updateDevices(all({ status: 'disabled' }), true));
  const devices = await Promise.all(ids.map(async (id) => (await registry.get(id)).responseBody));
  assert.ok(devices.every((device) => device.status === 'disabled'));
  done(await registry.updateDevices(devices.map((device) => ({ ...device, eTag: device.etag, status: 'enabled' })), false));
  done(await registry.removeDevices([{ deviceId: 'bulk-1' }], true));
  const { responseBody: last } = await registry.get('bulk-2');
  done(await registry.removeDevices([{ deviceId: 'bulk-2', eTag: last.etag }], false));
  const error = await refused(() => registry.removeDevices([{ deviceId: 'bulk-3', eTag: 'AAAA' }], false));
  assert.match(error.responseBody, /PreconditionFailed/);
});

check('statistics count the devices', async () => {
  const { responseBody } = await registry.getRegistryStatistics();
  assert.ok(responseBody.totalDeviceCount >= 3, JSON.stringify(responseBody));
});

check('twins are read and changed', async () => {
  const { responseBody: twin } = await registry.getTwin('plain');
  await twin.update({ tags: { hall: 'a' }, properties: { desired: { speed: 3 } } });
  const { responseBody: again } = await registry.getTwin('plain');
  assert.deepEqual([again.tags.hall, again.properties.desired.speed], ['a', 3]);
  const { responseBody: third } = await registry.updateTwin('plain', { tags: { hall: 'b' } }, again.etag);
  assert.equal(third.tags.hall, 'b');
  await refused(() => registry.updateTwin('plain', { tags: { hall: 'c' } }, again.etag), 'InvalidEtagError');
});

check('queries come in pages', async () => {
  const query = registry.createQuery('SELECT * FROM devices', 1);
  const ids = [];
  while (query.hasMoreResults) {
    const { result } = await query.nextAsTwin();
    assert.ok(result.length <= 1);
    ids.push(...result.map((twin) => twin.deviceId));
  }
  assert.ok(ids.includes('plain') && ids.includes('press-1'), ids.join());
  const raw = registry.createQuery("SELECT COUNT() AS n FROM devices WHERE tags.hall = 'b'");
  assert.deepEqual((await raw.next()).result, [{ n: 1 }]);
  await refused(() => registry.createQuery('SELECT').next(), 'ArgumentError');
});

check('modules are created, read, changed and deleted', async () => {
  const { responseBody: made } = await registry.addModule({ deviceId: 'plain', moduleId: 'axis', managedBy: 'me' });
  assert.ok(made.authentication.symmetricKey.primaryKey);
  const { responseBody: all } = await registry.getModulesOnDevice('plain');
  assert.deepEqual(all.map((module) => module.moduleId), ['axis']);
  const { responseBody: found } = await registry.getModule('plain', 'axis');
  await registry.updateModule({ ...found, managedBy: 'you' });
  assert.equal((await registry.getModule('plain', 'axis')).responseBody.managedBy, 'you');
  const { responseBody: twin } = await registry.getModuleTwin('plain', 'axis');
  const patch = { properties: { desired: { a: 1 } } };
  const { responseBody: changed } = await registry.updateModuleTwin('plain', 'axis', patch, twin.etag);
  assert.equal(changed.properties.desired.a, 1);
  const rows = (await registry.createQuery("SELECT * FROM devices.modules WHERE devices.moduleId = 'axis'").next()).result;
  assert.equal(rows.length, 1);
  await registry.removeModule('plain', 'axis');
  assert.deepEqual((await registry.getModulesOnDevice('plain')).responseBody, []);
});

check('configurations are created, read, changed and deleted', async () => {
  const content = { deviceContent: { 'properties.desired.level': 3 } };
  const { responseBody: made } = await registry.addConfiguration({
    id: 'levels',
    schemaVersion: '1.0',
    content,
    targetCondition: '*',
    priority: 1,
    labels: { a: 'b' },
    metrics: { queries: {} },
  });
  assert.ok((await registry.getConfigurations()).responseBody.some((one) => one.id === 'levels'));
  await registry.updateConfiguration({ ...made, priority: 2 });
  await registry.updateConfiguration({ ...made, priority: 3 }, true);
  assert.equal((await registry.getConfiguration('levels')).responseBody.priority, 3);
  await registry.removeConfiguration('levels');
  await refused(() => registry.getConfiguration('levels'));
});

check('import and export jobs are made and watched', async () => {
  const made = await registry.exportDevicesToBlob('https://example.invalid/c?sig=x', true);
  const job = await until(() => registry.getJob(made.jobId), (it) => it.status === 'completed', 'the export');
  assert.equal(job.type, 'export');
  await registry.importDevicesFromBlob('https://example.invalid/i?sig=x', 'https://example.invalid/o?sig=x');
  assert.ok((await registry.listJobs()).responseBody.length >= 2);
  await registry.cancelJob(made.jobId);
});

check('a twin job runs, and its devices can be queried', async () => {
  const id = `twins-${process.pid}`;
  const { jobStatus } = await jobs.scheduleTwinUpdate(id, "deviceId = 'plain'", { etag: '*', tags: { by: 'job' } }, new Date(), 60);
  assert.equal(jobStatus.jobId, id);
  const done = (it) => it.jobStatus.status === 'completed';
  const last = await until(() => jobs.getJob(id), done, 'the job');
  assert.equal(last.jobStatus.deviceJobStatistics.succeededCount, 1);
  assert.equal((await registry.getTwin('plain')).responseBody.tags.by, 'job');
  const query = registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}'`);
  const { result } = await query.next();
  assert.deepEqual(result.map((row) => [row.deviceId, row.status]), [['plain', 'completed']]);
});

check('a method job runs, jobs are listed, and one is cancelled', async () => {
  const id = `methods-${process.pid}`;
  await jobs.scheduleDeviceMethod(id, "deviceId = 'press-1'", { methodName: 'echo', payload: { a: 1 } }, new Date(), 60);
  await until(() => jobs.getJob(id), (it) => it.jobStatus.status === 'completed', 'the job');
  const { result } = await jobs.createQuery('scheduleDeviceMethod', 'completed').next();
  const rows = Array.isArray(result) ? result : result.items;
  assert.ok(rows.some((job) => job.jobId === id), JSON.stringify(result));
  const later = `later-${process.pid}`;
  await jobs.scheduleDeviceMethod(later, '*', { methodName: 'echo' }, new Date(Date.now() + 3_600_000), 60);
  assert.equal((await jobs.cancelJob(later)).jobStatus.status, 'cancelled');
});

check('digital twins are read and changed, and answer commands', async () => {
  const client = new DigitalTwinClient(new IoTHubTokenCredentials(connection));
  const twin = await client.getDigitalTwin('press-1');
  assert.equal(twin.$dtId, 'press-1');
  await client.updateDigitalTwin('press-1', [{ op: 'add', path: '/speed', value: 4 }]);
  assert.equal((await registry.getTwin('press-1')).responseBody.properties.desired.speed, 4);
  const answer = await client.invokeCommand('press-1', 'echo', { b: 2 });
  assert.deepEqual(answer.payload ?? answer.body, { b: 2 });
});

check('methods are called on devices and modules', async () => {
  const client = Client.fromConnectionString(connection);
  const params = { methodName: 'echo', payload: { c: [3] }, responseTimeoutInSeconds: 15 };
  const { result } = await client.invokeDeviceMethod('press-1', params);
  assert.deepEqual(result, { status: 200, payload: { c: [3] } });
  await registry.addModule({ deviceId: 'press-1', moduleId: 'axis' });
  assert.equal((await client.invokeDeviceMethod('press-1', 'axis', params)).result.status, 200);
  await refused(() => client.invokeDeviceMethod('missing', params), 'DeviceNotFoundError');
});

for (const [name, transport] of [['AMQP', undefined], ['AMQP over WebSockets', AmqpWs]]) {
  check(`messages go to devices, and feedback comes back, by ${name}`, async () => {
    const client = Client.fromConnectionString(connection, transport);
    await client.open();
    const receiver = (await client.getFeedbackReceiver()).result ?? (await client.getFeedbackReceiver());
    const message = new Message(JSON.stringify({ d: 4 }));
    message.messageId = `message-${name.length}`;
    message.ack = 'full';
    message.properties.add('level', '5');
    const ours = (batch) => batch.data.toString().includes(message.messageId);
    const feedback = event(receiver, 'message', ours);
    await client.send('press-1', message);
    const batch = await feedback;
    const record = JSON.parse(batch.data.toString()).find((one) => one.originalMessageId === message.messageId);
    assert.deepEqual([record.deviceId, record.statusCode], ['press-1', 'Success']);
    // The client has accepted the batch by itself before this call (1.16.6), so that it cannot be abandoned either.
    await receiver.complete(batch);
    await refused(() => client.send('missing', new Message('x')), 'DeviceNotFoundError');
    await client.close();
  });

  check(`notices of uploaded files come by ${name}`, async () => {
    const client = Client.fromConnectionString(connection, transport);
    await client.open();
    const receiver = (await client.getFileNotificationReceiver()).result ?? (await client.getFileNotificationReceiver());
    const notice = event(receiver, 'message');
    const params = { methodName: 'upload', payload: null };
    assert.equal((await client.invokeDeviceMethod('press-1', params)).result.status, 200);
    const message = await notice;
    const file = JSON.parse(message.data.toString());
    assert.deepEqual([file.deviceId, file.blobName, file.blobSizeInBytes], ['press-1', 'press-1/log.txt', 12]);
    await receiver.complete(message);
    await client.close();
  });
}

main();
