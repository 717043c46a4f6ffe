// A Charging Station on ocpp-rpc (npm) in strict mode: every frame of the CSMS is validated by the
// library against its own copy of the schemas, and a witness beside the validator counts.
//
// The station is led by the CSMS alone. Its first line on stdin says who it is; on stdout it says,
// one JSON object a line, what it has seen; when stdin ends, it tries what must be refused and
// stops. Exit code 0: every step was seen, every frame was validated, and none was found wanting.

import { createHash, X509Certificate, webcrypto, KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import ocppRpc from 'ocpp-rpc';

const { RPCClient } = ocppRpc;
const SUBPROTOCOL = 'ocpp2.0.1';
const DEADLINE_MS = 45_000;
// The second key is of another kind than the first: a rotation may change the algorithm.
const KEY_ALGORITHMS = [
  { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 3072,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: 'SHA-256',
  },
];

x509.cryptoProvider.set(webcrypto);

const strict = createRequire(import.meta.url)('ocpp-rpc/lib/standard-validators.js').find(
  (validator) => validator.subprotocol === SUBPROTOCOL,
);
const received = new Map(); // schema id -> frames of the CSMS
const validated = new Map(); // schema id -> frames that the validator let through
const complaints = [];

const count = (counts, id) => counts.set(id, (counts.get(id) ?? 0) + 1);
const say = (step, facts = {}) => process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);

/** The library's validator, with a tally. */
const witness = {
  subprotocol: SUBPROTOCOL,
  validate(schemaId, payload) {
    const answer = strict.validate(schemaId, payload);
    count(validated, schemaId);
    return answer;
  },
};

/** Counts what arrives, from the raw frames, so that nothing can slip past the validator unseen. */
function watch(client) {
  const asked = new Map(); // message id -> action of our CALL
  client.on('message', ({ message, outbound }) => {
    const [type, id, third] = JSON.parse(message);
    if (outbound) {
      if (type === 2) asked.set(id, third);
    } else if (type === 2) {
      count(received, `urn:${third}.req`);
    } else if (type === 3) {
      count(received, `urn:${asked.get(id)}.conf`);
    } else {
      complaints.push(`the CSMS sent ${String(message)}`);
    }
  });
  client.on('strictValidationFailure', ({ method, error }) =>
    complaints.push(`${method}: ${error.message}`),
  );
  client.on('badMessage', ({ error }) => complaints.push(`bad message: ${error.message}`));
}

/** What outlives a connection. */
class Memory {
  keys = []; // { key: PEM, chain: PEM, serial } in the order of their certificates
  variables = new Map();
  networkProfiles = new Map();
  roots = [];
  #pending;

  constructor(who) {
    this.who = who;
    this.csmsRoot = readFileSync(who.root, 'utf8');
  }

  async signingRequest() {
    const algorithm = KEY_ALGORITHMS[this.keys.length % KEY_ALGORITHMS.length];
    this.#pending = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const request = await x509.Pkcs10CertificateRequestGenerator.create({
      name: `CN=${this.who.serialNumber}`,
      keys: this.#pending,
      signingAlgorithm: algorithm,
    });
    return `${request.toString('pem')}\n`;
  }

  /** Whether this chain, leaf and issuing CA, is one to come back with. */
  keep(chain) {
    const parts = chain.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    if (this.#pending === undefined || parts.length !== 2) return false;
    const key = KeyObject.from(this.#pending.privateKey);
    const [leaf, issuer] = parts.map((pem) => new X509Certificate(pem));
    const root = new X509Certificate(this.csmsRoot);
    const fits =
      leaf.checkPrivateKey(key) &&
      leaf.checkIssued(issuer) &&
      leaf.verify(issuer.publicKey) &&
      issuer.checkIssued(root) &&
      issuer.verify(root.publicKey);
    if (!fits) return false;
    const pem = key.export({ type: 'pkcs8', format: 'pem' });
    this.keys.push({ key: pem, chain, serial: leaf.serialNumber, type: key.asymmetricKeyType });
    this.#pending = undefined;
    return true;
  }

  /** Where to and as whom: the profile that the CSMS put first, else what the installer set. */
  nextConnection() {
    const slot = Number(this.variables.get('NetworkConfigurationPriority'));
    const profile = this.networkProfiles.get(slot);
    if (profile === undefined) return { url: this.who.url, password: this.who.password };
    return { url: profile.ocppCsmsUrl, certificate: this.keys.at(-1) };
  }
}

/** CertificateHashData of a root with a key on an elliptic curve. */
function hashData(pem) {
  const root = new x509.X509Certificate(pem);
  const { x, y } = new X509Certificate(pem).publicKey.export({ format: 'jwk' });
  const point = ['BA', x, y].map((part) => Buffer.from(part, 'base64url'));
  point[0] = Buffer.from([4]); // uncompressed
  const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
  return {
    hashAlgorithm: 'SHA256',
    issuerNameHash: sha256(Buffer.from(root.issuerName.toArrayBuffer())),
    issuerKeyHash: sha256(Buffer.concat(point)),
    serialNumber: root.serialNumber.toLowerCase().replace(/^0+/, ''),
  };
}

/** After the answer to this CALL has been sent; its failure fails the station. */
function afterAnswering(client, messageId, act) {
  client.on('response', function listener({ outbound, payload }) {
    if (!outbound || payload[1] !== messageId) return;
    client.off('response', listener);
    setImmediate(() => Promise.resolve(act()).catch(fail));
  });
}

function install(client, memory, onReset) {
  client.handle('TriggerMessage', ({ messageId, params }) => {
    if (params.requestedMessage !== 'SignChargingStationCertificate') {
      return { status: 'NotImplemented' };
    }
    afterAnswering(client, messageId, async () => {
      const csr = await memory.signingRequest();
      const certificateType = 'ChargingStationCertificate';
      const answer = await client.call('SignCertificate', { csr, certificateType });
      say('csr_sent', answer);
    });
    return { status: 'Accepted' };
  });
  client.handle('CertificateSigned', ({ messageId, params }) => {
    const kept = memory.keep(params.certificateChain);
    const { serial, type } = memory.keys.at(-1) ?? {};
    afterAnswering(client, messageId, () => say('certificate', { kept, serial, type }));
    return { status: kept ? 'Accepted' : 'Rejected' };
  });
  client.handle('InstallCertificate', ({ params }) => {
    memory.roots.push(params.certificate);
    return { status: 'Accepted' };
  });
  client.handle('GetInstalledCertificateIds', () => ({
    status: 'Accepted',
    certificateHashDataChain: memory.roots.map((pem) => ({
      certificateType: 'CSMSRootCertificate',
      certificateHashData: hashData(pem),
    })),
  }));
  client.handle('SetVariables', ({ params }) => ({
    setVariableResult: params.setVariableData.map(({ component, variable, attributeValue }) => {
      memory.variables.set(variable.name, attributeValue);
      return { attributeStatus: 'Accepted', component, variable };
    }),
  }));
  client.handle('GetVariables', ({ params }) => ({
    getVariableResult: params.getVariableData.map(({ component, variable }) => ({
      attributeStatus: memory.variables.has(variable.name) ? 'Accepted' : 'UnknownVariable',
      attributeValue: memory.variables.get(variable.name),
      component,
      variable,
    })),
  }));
  client.handle('SetNetworkProfile', ({ params }) => {
    memory.networkProfiles.set(params.configurationSlot, params.connectionData);
    return { status: 'Accepted' };
  });
  client.handle('Reset', ({ messageId }) => {
    afterAnswering(client, messageId, onReset);
    return { status: 'Accepted' };
  });
}

function clientFor(memory, { url, password, certificate }) {
  return new RPCClient({
    endpoint: url,
    identity: memory.who.identity,
    password: password ?? null,
    protocols: [SUBPROTOCOL],
    strictMode: [SUBPROTOCOL],
    strictModeValidators: [witness],
    reconnect: false,
    callTimeoutMs: 15_000,
    wsOpts: { ca: memory.csmsRoot, cert: certificate?.chain, key: certificate?.key },
  });
}

/** On line until the CSMS resets the station, or until `over`. */
async function session(memory, over) {
  const target = memory.nextConnection();
  const client = clientFor(memory, target);
  watch(client);
  const reset = new Promise((resolve) => install(client, memory, resolve));
  await client.connect();
  const station = { model: 'Interop', vendorName: 'mikuso' };
  // B01: the serial number is told where no certificate tells it.
  if (!target.certificate) station.serialNumber = memory.who.serialNumber;
  const boot = { reason: 'PowerUp', chargingStation: station };
  const { status } = await client.call('BootNotification', boot);
  await report(client);
  say('online', { status, certificate: target.certificate?.serial ?? null });
  await Promise.race([reset, over]);
  await client.close({ awaitPending: true });
}

async function report(client) {
  const timestamp = new Date().toISOString();
  await client.call('Heartbeat', {});
  await client.call('StatusNotification', {
    timestamp,
    connectorStatus: 'Available',
    evseId: 1,
    connectorId: 1,
  });
  const event = { type: 'StartupOfTheDevice', timestamp, techInfo: 'ocpp-rpc' };
  await client.call('SecurityEventNotification', event);
}

/** Both of these opened the door once. */
async function tryWhatMustBeRefused(memory) {
  const { url } = memory.nextConnection();
  const ways = {
    first_certificate: { url, certificate: memory.keys[0] },
    password: { url: memory.who.url, password: memory.who.password },
  };
  for (const [credential, way] of Object.entries(ways)) {
    const client = clientFor(memory, way);
    const http = await client.connect().then(
      () => client.close().then(() => 101),
      (error) => error.code,
    );
    say('refused', { credential, http });
    if (http === 101) complaints.push(`${credential} still opens the door`);
  }
}

/** Proves that the validator was strict, and that it saw every frame of the CSMS. */
function verdict() {
  let strictly = false;
  try {
    strict.validate('urn:TriggerMessage.req', { requestedMessage: 'Nonsense' });
  } catch {
    strictly = true;
  }
  if (!strictly) complaints.push('the validator accepts anything');
  for (const [id, frames] of received) {
    if (validated.get(id) !== frames) complaints.push(`${id}: not every frame was validated`);
  }
  say('verdict', { received: Object.fromEntries(received), complaints });
  return complaints.length === 0;
}

function fail(error) {
  process.stderr.write(`${error.stack ?? error}\n`);
  process.exit(1);
}

async function main() {
  setTimeout(() => fail(new Error(`not done after ${DEADLINE_MS} ms`)), DEADLINE_MS).unref();
  const lines = createInterface({ input: process.stdin });
  const over = new Promise((resolve) => lines.once('close', resolve));
  const memory = new Memory(await new Promise((resolve) => {
    lines.once('line', (line) => resolve(JSON.parse(line)));
  }));
  await session(memory, over); // by password
  await session(memory, over); // with the first certificate
  await session(memory, over); // with the second
  if (memory.keys.length !== 2) throw new Error('two certificates were expected');
  await tryWhatMustBeRefused(memory);
  process.exit(verdict() ? 0 : 1);
}

main().catch(fail);
