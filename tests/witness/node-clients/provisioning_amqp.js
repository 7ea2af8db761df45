// Runs Microsoft's provisioning client of devices for Node.js over AMQP and over AMQP on WebSockets, unmodified.
//
// Environment:
//   ID_SCOPE            the provisioning service's id scope
//   GROUP_KEY           the key of an enrollment group, for the devices `grouped-…`
//   KEY                 the key of the individual enrollments `single-…`
//   CERTIFICATE         a self-signed certificate in PEM for the individual enrollment `self-signed`
//   CERTIFICATE_KEY     its key
//   ISSUED              a certificate for `issued`, and that of the authority of an enrollment group
//   ISSUED_KEY          its key
//   FORWARD             see forward.cjs

'use strict';

const { createHmac } = require('node:crypto');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { assert, check, main, refused } = require('./checks.js');

const { CERTIFICATE, CERTIFICATE_KEY, GROUP_KEY, ID_SCOPE, ISSUED, ISSUED_KEY, KEY } = process.env;

const derived = (id) => createHmac('sha256', Buffer.from(GROUP_KEY, 'base64')).update(id).digest('base64');

for (const [name, transport] of [['amqp', Amqp], ['ws', AmqpWs]]) {
  const register = (security) => ProvisioningDeviceClient.create('localhost', ID_SCOPE, new transport(), security).register();

  const assigned = async (security, id) => {
    const state = await register(security);
    assert.deepEqual([state.status, state.registrationId, state.deviceId], ['assigned', id, id]);
    assert.match(state.assignedHub, /^localhost/);
  };

  check(`${name}: by the key of an enrollment`, () => {
    const id = `single-${name}`;
    return assigned(new SymmetricKeySecurityClient(id, KEY), id);
  });

  check(`${name}: by a key derived from that of a group`, () => {
    const id = `grouped-${name}`;
    return assigned(new SymmetricKeySecurityClient(id, derived(id)), id);
  });

  check(`${name}: by a self-signed certificate`, () =>
    assigned(new X509Security('self-signed', { cert: CERTIFICATE, key: CERTIFICATE_KEY }), 'self-signed'));

  check(`${name}: by a certificate of a group's authority`, () =>
    assigned(new X509Security('issued', { cert: ISSUED, key: ISSUED_KEY }), 'issued'));

  check(`${name}: a wrong key is refused`, async () => {
    await refused(() => register(new SymmetricKeySecurityClient(`grouped-${name}`, derived('another'))));
  });
}

main();
