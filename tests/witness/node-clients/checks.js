// The checks of a witness: they run one after the other, and the last line says how many passed.

'use strict';

const assert = require('node:assert/strict');

const PATIENCE = 30_000;
const checks = [];

/** Adds a check. */
const check = (name, run) => checks.push({ name, run });

/** Runs an action that must fail, and returns the error. */
async function refused(run, name) {
  try {
    await run();
  } catch (error) {
    if (name) assert.equal(error.name, name, error.message);
    return error;
  }
  throw new assert.AssertionError({ message: 'was not refused' });
}

/** Waits for a promise, but not for ever. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The first value of an emitter's event for which `fits` holds. */
const event = (emitter, name, fits = () => true) =>
  within(
    new Promise((resolve) => {
      const listener = (...values) => {
        if (!fits(...values)) return;
        emitter.removeListener(name, listener);
        resolve(values.length > 1 ? values : values[0]);
      };
      emitter.on(name, listener);
    }),
    name,
  );

/** Asks again until an answer fits. */
async function until(ask, fits, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (fits(answer)) return answer;
    if (Date.now() > end) throw new Error(`timed out: ${what}: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs all checks and ends the process. */
async function main() {
  let failed = 0;
  for (const { name, run } of checks) {
    try {
      await within(run(), name);
      console.log(`ok     ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}\n${error.responseBody ?? ''}`);
    }
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

module.exports = { assert, check, event, main, refused, until, within };
