// A service app made with `jose` asks for access tokens: of the simulated organization, and of an
// OpenID provider that nobody here wrote. What one refuses the other refuses too, except where
// Okta documents otherwise. A difference that goes away is a failure like any other.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

const PATIENCE_MS = 20_000;
const CLIENT = "0oasimulated0000001";
const SCOPE = "okta.users.read okta.groups.manage";
const [modules, simulator] = process.argv.slice(2).map((it) => resolve(it));
const require = createRequire(join(modules, "here.js"));
const jose = await import(pathToFileURL(require.resolve("jose")).href);

// What the two answer to each fact: [the simulated organization, the provider].
const FACTS = {
  "a right one": [200, 200],
  "the same again": [401, 401],
  "no jti": [200, 401],
  "no jti, again": [200, 401],
  "of another audience": [401, 401],
  "expired": [401, 401],
  "without an end": [401, 401],
  "ending in two hours": [401, 200],
  "by somebody for another": [401, 401],
  "by a stranger": [401, 401],
  "signed with another key": [401, 401],
  "signed with no known algorithm": [401, 401],
  "no token at all": [401, 400],
  "a scope that was never heard of": [400, 200],
  "another grant": [400, 400],
};

async function start(command, ...args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  process.on("exit", () => child.kill());
  const line = await Promise.race([
    new Promise((done) => createInterface(child.stdout).once("line", done)),
    new Promise((_, fail) => child.once("exit", () => fail(new Error(`${command} ended`)))),
  ]);
  return line.trim();
}

async function post(url, body, type) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(url, { method: "POST", headers: { "content-type": type }, body, signal });
  return { status: answer.status, body: await answer.json() };
}

/** What the token endpoint at this address answers to each fact. */
async function tour(address, key, alg, kid) {
  const endpoint = `${address}/oauth2/v1/token`;
  const now = Math.floor(Date.now() / 1000);
  const other = (await jose.generateKeyPair(alg, { extractable: true })).privateKey;
  let made = 0;
  const claims = () =>
    ({ iss: CLIENT, sub: CLIENT, aud: endpoint, iat: now, exp: now + 300, jti: `${alg}-${made++}` });
  const without = (name) => {
    const { [name]: _, ...rest } = claims();
    return rest;
  };
  const signed = (payload, by = key) => new jose.SignJWT(payload).setProtectedHeader({ alg, kid }).sign(by);
  const ask = async (assertion, more = {}) => {
    const form = new URLSearchParams({
      grant_type: "client_credentials", scope: SCOPE, client_assertion: assertion,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", ...more,
    });
    const { status, body } = await post(endpoint, form, "application/x-www-form-urlencoded");
    if (status === 200) {
      assert.equal(body.token_type, "Bearer");
      assert.equal(body.expires_in, 3600);
      // A provider leaves out what it never heard of.
      assert.equal(body.scope, more.scope ? undefined : SCOPE);
      assert.ok(body.access_token);
    } else {
      assert.match(body.error, /^invalid_|^unsupported_/);
    }
    return status;
  };
  const right = await signed(claims());
  const nameless = await signed(without("jti"));
  const secret = new Uint8Array(32);
  const symmetric = new jose.SignJWT(claims()).setProtectedHeader({ alg: "HS256", kid }).sign(secret);
  return {
    "a right one": await ask(right),
    "the same again": await ask(right),
    "no jti": await ask(nameless),
    "no jti, again": await ask(nameless),
    "of another audience": await ask(await signed({ ...claims(), aud: "https://example.com/token" })),
    "expired": await ask(await signed({ ...claims(), iat: now - 600, exp: now - 300 })),
    "without an end": await ask(await signed(without("exp"))),
    "ending in two hours": await ask(await signed({ ...claims(), exp: now + 7200 })),
    "by somebody for another": await ask(await signed({ ...claims(), iss: "0oaother" })),
    "by a stranger": await ask(await signed({ ...claims(), iss: "0oaother", sub: "0oaother" })),
    "signed with another key": await ask(await signed(claims(), other)),
    "signed with no known algorithm": await ask(await symmetric),
    "no token at all": await ask("x.y.z"),
    "a scope that was never heard of": await ask(await signed(claims()), { scope: "okta.everything" }),
    "another grant": await ask(await signed(claims()), { grant_type: "password" }),
  };
}

const organization = await start(simulator);
for (const alg of ["RS256", "ES256"]) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const public_jwk = { ...(await jose.exportJWK(publicKey)), kid: "first", alg, use: "sig" };
  const app = JSON.stringify({ client_id: CLIENT, keys: [public_jwk], scopes: null });
  const known = await post(`${organization}/sim/apps`, app, "application/json");
  assert.equal(known.status, 200);
  const oidc = fileURLToPath(new URL("oidc.mjs", import.meta.url));
  const provider = await start(process.execPath, oidc, modules, CLIENT, JSON.stringify(public_jwk));
  const ours = await tour(organization, privateKey, alg, "first");
  const theirs = await tour(provider, privateKey, alg, "first");
  for (const [fact, expected] of Object.entries(FACTS)) {
    assert.deepEqual([ours[fact], theirs[fact]], expected, `${alg}: ${fact}`);
  }
}
// And what our own client signs, by the provider.
const pem = readFileSync(new URL("../../crates/jit-okta/src/tests/rsa.pem", import.meta.url), "utf8");
const app_jwk = { ...createPublicKey(pem).export({ format: "jwk" }), kid: "key-1", alg: "RS256", use: "sig" };
const oidc = fileURLToPath(new URL("oidc.mjs", import.meta.url));
const JIT_OKTA_OIDC = await start(process.execPath, oidc, modules, "0oa1simulated0000001", JSON.stringify(app_jwk));
const test = ["test", "--locked", "--quiet", "-p", "jit-okta", "--lib", "--", "a_provider_that", "--nocapture"];
const ran = spawnSync("cargo", test, { env: { ...process.env, JIT_OKTA_OIDC }, encoding: "utf8" });
assert.equal(ran.status, 0, ran.stdout + ran.stderr);
assert.doesNotMatch(ran.stdout + ran.stderr, /SKIPPED/);
assert.match(ran.stdout, /1 passed/);

console.log(`tests/okta: ${Object.keys(FACTS).length} facts about assertions, each with RS256 and ES256`);
process.exit(0);
