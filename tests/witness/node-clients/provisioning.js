// Runs Microsoft's client of the provisioning service's API for Node.js, unmodified, through all of its calls.
//
// Environment:
//   DPS_CONNECTION_STRING  a policy with all permissions
//   CERTIFICATE            a self-signed certificate in PEM
//   FORWARD                see forward.cjs
//
// The device `registered` of the group `line` has registered already.

'use strict';

const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { assert, check, main, refused } = require('./checks.js');

const client = ProvisioningServiceClient.fromConnectionString(process.env.DPS_CONNECTION_STRING);
const KEY_1 = 'YWJjZGVmZ2hpamtsbW5vcA==';
const KEY_2 = 'cXJzdHV2d3h5ejAxMjM0NQ==';
const keys = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY_1, secondaryKey: KEY_2 } };
const fresh = { type: 'symmetricKey', symmetricKey: { primaryKey: '', secondaryKey: '' } };
const body = (answer) => answer.responseBody;

/** Everything that a query finds, by pages of two. */
async function all(query) {
  const found = [];
  while (query.hasMoreResults) {
    // Without the token the client asks for the first page again (1.11.2).
    const page = body(await query.next(query.continuationToken));
    assert.ok(page.length <= 2);
    found.push(...page);
  }
  return found;
}

check('enrollments are created, read, changed and deleted', async () => {
  const made = body(
    await client.createOrUpdateIndividualEnrollment({
      registrationId: 'press-1',
      deviceId: 'the-press',
      attestation: keys,
      provisioningStatus: 'disabled',
      initialTwin: { tags: { hall: 'a' }, properties: { desired: { speed: 3 } } },
    }),
  );
  assert.ok(made.etag);
  const found = body(await client.getIndividualEnrollment('press-1'));
  assert.deepEqual([found.deviceId, found.provisioningStatus, found.initialTwin.tags.hall], ['the-press', 'disabled', 'a']);
  // The whole object goes back; its ETag becomes `If-Match`.
  const changed = body(await client.createOrUpdateIndividualEnrollment({ ...found, provisioningStatus: 'enabled' }));
  assert.equal(changed.provisioningStatus, 'enabled');
  await refused(() => client.createOrUpdateIndividualEnrollment(found), 'InvalidEtagError');
  const mechanism = body(await client.getIndividualEnrollmentAttestationMechanism('press-1'));
  assert.deepEqual([mechanism.type, mechanism.symmetricKey.primaryKey], ['symmetricKey', KEY_1]);
  await refused(() => client.deleteIndividualEnrollment('press-1', found.etag), 'InvalidEtagError');
  await client.deleteIndividualEnrollment(changed);
  await refused(() => client.getIndividualEnrollment('press-1'));
});

check('keys are made where none are given', async () => {
  await client.createOrUpdateIndividualEnrollment({ registrationId: 'fresh', attestation: fresh });
  const { symmetricKey } = body(await client.getIndividualEnrollmentAttestationMechanism('fresh'));
  assert.ok(Buffer.from(symmetricKey.primaryKey, 'base64').length >= 32);
  await client.deleteIndividualEnrollment('fresh');
});

check('an enrollment with a certificate', async () => {
  const certificate = { certificate: process.env.CERTIFICATE };
  const attestation = { type: 'x509', x509: { clientCertificates: { primary: certificate } } };
  const made = body(await client.createOrUpdateIndividualEnrollment({ registrationId: 'certified', attestation }));
  const { info } = made.attestation.x509.clientCertificates.primary;
  assert.match(info.sha256Thumbprint, /^[0-9A-F]{64}$/);
  await client.deleteIndividualEnrollment(made);
});

check('groups are created, read, changed and deleted', async () => {
  const made = body(await client.createOrUpdateEnrollmentGroup({ enrollmentGroupId: 'hall-a', attestation: keys }));
  const found = body(await client.getEnrollmentGroup('hall-a'));
  assert.equal(found.etag, made.etag);
  await client.createOrUpdateEnrollmentGroup({ ...found, provisioningStatus: 'disabled' });
  const mechanism = body(await client.getEnrollmentGroupAttestationMechanism('hall-a'));
  assert.equal(mechanism.symmetricKey.secondaryKey, KEY_2);
  await client.deleteEnrollmentGroup('hall-a');
  await refused(() => client.getEnrollmentGroup('hall-a'));
});

check('bulk operations and queries', async () => {
  const ids = ['bulk-1', 'bulk-2', 'bulk-3', 'bulk-4', 'bulk-5'];
  const enrollments = ids.map((registrationId) => ({ registrationId, attestation: keys }));
  // Without a callback the client's promise never settles (1.11.2).
  const bulk = (operation) =>
    new Promise((resolve, reject) => {
      client.runBulkEnrollmentOperation(operation, (error, result) => (error ? reject(error) : resolve(result)));
    });
  for (const mode of ['create', 'update']) {
    assert.deepEqual(await bulk({ enrollments, mode }), { isSuccessful: true, errors: [] });
  }
  const query = client.createIndividualEnrollmentQuery({ query: '*' }, 2);
  const found = (await all(query)).map((one) => one.registrationId);
  assert.deepEqual(found.filter((id) => id.startsWith('bulk-')), ids);
  assert.ok((await bulk({ enrollments, mode: 'delete' })).isSuccessful);
  const again = await bulk({ enrollments: enrollments.slice(0, 1), mode: 'delete' });
  assert.deepEqual([again.isSuccessful, again.errors.length], [false, 1]);
});

check('groups are queried', async () => {
  const found = await all(client.createEnrollmentGroupQuery({ query: '*' }, 2));
  assert.ok(found.some((group) => group.enrollmentGroupId === 'line'));
});

check('registrations are queried, read and deleted', async () => {
  const query = client.createEnrollmentGroupDeviceRegistrationStateQuery({ query: '*' }, 'line', 2);
  assert.deepEqual((await all(query)).map((state) => state.registrationId), ['registered']);
  const state = body(await client.getDeviceRegistrationState('registered'));
  assert.deepEqual([state.status, state.deviceId], ['assigned', 'registered']);
  await client.deleteDeviceRegistrationState(state);
  await refused(() => client.getDeviceRegistrationState('registered'));
});

main();
