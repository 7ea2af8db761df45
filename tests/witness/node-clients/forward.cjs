// Forwards the services' well-known ports to the ports of the emulator, as a machine's port forwarding would. Loaded
// before the clients (`node --require`), because these clients cannot be given a port and tests run side by side.
//
// Environment: FORWARD, a JSON object of port to port, such as {"443": 40001, "5671": 40002}

'use strict';

const net = require('node:net');

const ports = JSON.parse(process.env.FORWARD);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  // `net` and `tls` pass options, or an array whose first element are the options.
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  const port = options && ports[options.port];
  if (port) options.port = port;
  return connect.apply(this, args);
};
