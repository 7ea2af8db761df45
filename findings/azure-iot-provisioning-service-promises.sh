#!/usr/bin/env bash
# With promises, the client of the provisioning service reads the first page for ever, and a bulk operation never ends.
# Expected: the package's types say that next() without arguments returns the next page, until hasMoreResults is false, and that
# runBulkEnrollmentOperation without a callback returns a promise of its result.
# Seen (azure-iot-provisioning-service 1.11.2; azure-iothub 1.16.6 has the first in Query.next as well): next() without arguments sends
# no continuation token and returns the first page each time, with hasMoreResults true; with a callback it sends the token. The bulk
# operation reaches the service and takes effect, but its promise never settles; with a callback it ends.
# Why it matters: the loop `while (query.hasMoreResults) await query.next()` never ends where there is a second page, and a program
# stops after enrollments that were in fact created.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" azure-iot-provisioning-service@1.11.2 azure-iothub@1.16.6 >/dev/null
cat >promises.js <<'JAVASCRIPT'
const { ProvisioningServiceClient } = require("azure-iot-provisioning-service");
const { Registry } = require("azure-iothub");
// A service with two pages, and with a result for every other call.
const service = {
  executeApiCall(method, path, headers, body, done) {
    const second = headers["x-ms-continuation"] === "two";
    const page = !path.includes("query") ? { isSuccessful: true } : second ? ["last"] : ["first"];
    setImmediate(() => done(null, page, { headers: second ? {} : { "x-ms-continuation": "two" } }));
  },
};
const config = { host: "h", sharedAccessSignature: "s" };
const client = new ProvisioningServiceClient(config, service);
const pages = { "azure-iot-provisioning-service": () => client.createIndividualEnrollmentQuery({ query: "*" }), "azure-iothub": () => new Registry(config, service).createQuery("SELECT * FROM devices") };
const withCallback = (call) => new Promise((resolve, reject) => call((error, result) => (error ? reject(error) : resolve(result))));
const soon = (promise) => Promise.race([promise.then((it) => JSON.stringify(it.responseBody ?? it)), new Promise((resolve) => setTimeout(resolve, 1000, "still pending"))]);
(async () => {
  for (const [name, make] of Object.entries(pages)) {
    const promises = make();
    for (let n = 1; n <= 3; n++) {
      const page = await promises.next();
      console.log(name, "promise", n, JSON.stringify(page.responseBody ?? page.result), "more:", promises.hasMoreResults);
    }
    const callbacks = make();
    while (callbacks.hasMoreResults) console.log(name, "callback", JSON.stringify(await withCallback((done) => callbacks.next(done))));
  }
  const bulk = { mode: "create", enrollments: [{ registrationId: "r" }] };
  console.log("bulk, callback:", await soon(withCallback((done) => client.runBulkEnrollmentOperation(bulk, done))));
  console.log("bulk, promise:", await soon(client.runBulkEnrollmentOperation(bulk)));
})();
JAVASCRIPT
seen=$(node promises.js)
expected='azure-iot-provisioning-service promise 1 ["first"] more: true
azure-iot-provisioning-service promise 2 ["first"] more: true
azure-iot-provisioning-service promise 3 ["first"] more: true
azure-iot-provisioning-service callback ["first"]
azure-iot-provisioning-service callback ["last"]
azure-iothub promise 1 ["first"] more: true
azure-iothub promise 2 ["first"] more: true
azure-iothub promise 3 ["first"] more: true
azure-iothub callback ["first"]
azure-iothub callback ["last"]
bulk, callback: {"isSuccessful":true}
bulk, promise: still pending'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
