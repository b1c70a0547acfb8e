// nginx as a reverse proxy with TLS, in a temporary folder, on a free port.

import { spawn } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NGINX = process.env.NGINX ?? "/usr/sbin/nginx";
/** Without nginx its tests are skipped; in CI, where nobody reads that, they fail. */
export const skip = existsSync(NGINX) || process.env.CI ? false : `there is no ${NGINX}`;
/** Another program may take a port that was free. */
const TRIES = 5;

const OPERATIONS = new URL("../docs/operations.md", import.meta.url);

/** Returns the settings and the server that docs/operations.md names: for the page, or for a relay. */
export async function documented(what = "\n### Behind a reverse proxy\n") {
  const text = await readFile(OPERATIONS, "utf8");
  const section = text.slice(text.indexOf(what));
  const [, settings] = /^```text\n(.*?)^```$/ms.exec(section);
  const [, server] = /^```nginx\n(.*?)^```$/ms.exec(section);
  return { settings, server };
}

/** Replaces a part that must be there, as documents change. */
export function replaced(text, part, by) {
  if (!text.includes(part)) throw new Error(`${part} is not in: ${text}`);
  return text.replaceAll(part, by);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function answers(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => done(true)).on("error", () => done(false)).on("close", () => socket.destroy());
    socket.on("connect", () => socket.end());
  });
}

/** Starts nginx with a server block, whose port becomes a free one. Returns that
 * port. It ends with the test. */
export async function nginx(t, server) {
  const folder = await mkdtemp(join(tmpdir(), "nginx-"));
  const { key, certificate } = selfSigned("node.example.org");
  await writeFile(join(folder, "key.pem"), key);
  await writeFile(join(folder, "certificate.pem"), certificate);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${join(folder, kind)};`);
  let program;
  t.after(async () => {
    if (program?.exitCode === null) {
      program.kill("SIGTERM");
      await once(program, "exit");
    }
    await rm(folder, { recursive: true, force: true });
  });
  let said = "";
  for (let number = 0; number < TRIES; number += 1) {
    const port = await freePort();
    const configuration = `
      daemon off;
      master_process off;
      pid ${join(folder, "pid")};
      error_log stderr warn;
      events {}
      http {
        access_log off;
        ${temporary.join("\n")}
        ssl_certificate ${join(folder, "certificate.pem")};
        ssl_certificate_key ${join(folder, "key.pem")};
        ${server.replace(/listen \d+/, `listen 127.0.0.1:${port}`)}
      }`;
    await writeFile(join(folder, "nginx.conf"), configuration);
    program = spawn(NGINX, ["-e", "stderr", "-p", folder, "-c", join(folder, "nginx.conf")], { stdio: ["ignore", "ignore", "pipe"] });
    program.stderr.on("data", (data) => { said += data; });
    const ended = once(program, "exit");
    while (program.exitCode === null) {
      if (await answers(port)) return port;
      await Promise.race([ended, new Promise((done) => setTimeout(done, 20))]);
    }
  }
  throw new Error(`nginx does not start: ${said}`);
}

/** DER (X.690): a value with its tag and its length. */
function der(tag, ...parts) {
  const content = Buffer.concat(parts);
  const length = content.length < 0x80 ? [content.length] : content.length < 0x100 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

const [INTEGER, BITS, OCTETS, OID, UTF8, TIME, SEQUENCE, SET] = [0x02, 0x03, 0x04, 0x06, 0x0c, 0x18, 0x30, 0x31];
const oid = (hex) => der(OID, Buffer.from(hex, "hex"));

/** Returns a key and a certificate (RFC 5280) that it signs itself, for this host name. */
function selfSigned(name) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = der(SEQUENCE, oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const subject = der(SEQUENCE, der(SET, der(SEQUENCE, oid("550403"), der(UTF8, Buffer.from(name)))));
  const names = der(SEQUENCE, oid("551d11"), der(OCTETS, der(SEQUENCE, der(0x82, Buffer.from(name)))));
  const validity = der(SEQUENCE, der(TIME, Buffer.from("20200101000000Z")), der(TIME, Buffer.from("20991231235959Z")));
  const signed = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.from([1])),
    algorithm, subject, validity, subject,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(SEQUENCE, names)),
  );
  const signature = der(BITS, Buffer.from([0]), sign("sha256", signed, privateKey));
  const lines = der(SEQUENCE, signed, algorithm, signature).toString("base64").match(/.{1,64}/g).join("\n");
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
  };
}
