// Runs Microsoft's device client for Node.js over HTTPS, unmodified: one message and a batch.
//
// Environment:
//   DEVICE_CONNECTION_STRING  a device
//   FORWARD                   see forward.cjs

'use strict';

const { Client, Message } = require('azure-iot-device');
const { Http } = require('azure-iot-device-http');
const { check, main } = require('./checks.js');

const client = Client.fromConnectionString(process.env.DEVICE_CONNECTION_STRING, Http);

function message(number) {
  const made = new Message(JSON.stringify({ number }));
  made.properties.add('level', String(number));
  return made;
}

check('one message', async () => {
  await client.open();
  const one = message(1);
  one.messageId = 'one';
  one.contentType = 'application/json';
  one.contentEncoding = 'utf-8';
  await client.sendEvent(one);
});

check('a batch', () => client.sendEventBatch([2, 3, 4].map(message)));

main();
