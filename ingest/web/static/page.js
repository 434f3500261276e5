// The page: hash the dropped files in a worker, ask who signed each hash, say so, and say how to prove it. Everything shown goes in
// as text. What the server can't prove, it is said to say.
"use strict";

const $ = (id) => document.getElementById(id);
let worker = null, drops = 0;

function element(name, text) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  return e;
}

// show fills the result. facts are pairs of a name and a text or an element; steps are the proof, none: no proof.
function show(mood, verdict, explanation, facts, steps = []) {
  $("progress").hidden = true;
  $("result").hidden = false;
  $("result").className = mood;
  $("verdict").textContent = verdict;
  $("explanation").textContent = explanation;
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => {
    const dd = element("dd");
    dd.append(value);
    return [element("dt", name), dd];
  }));
  $("proof").hidden = steps.length === 0;
  $("proof").open = false;
  $("steps").replaceChildren(...steps.map(([text, command]) => {
    const li = element("li", text), pre = element("pre");
    pre.append(element("code", command));
    li.append(pre);
    if (navigator.clipboard) { // only where the page came over HTTPS, or from this computer
      const copy = element("button", "Copy");
      copy.type = "button";
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command);
        copy.textContent = "Copied";
      });
      pre.append(copy);
    }
    return li;
  }));
}

// check says of each file who signed it: of one at once, of several in a list, whose lines show the rest.
async function check(files) {
  if (worker) worker.terminate(); // the previous drop, if it is still being read
  const mine = ++drops, many = files.length > 1, moods = {signed: 0, unsigned: 0, unsure: 0};
  $("result").hidden = true;
  $("list").hidden = !many;
  $("files").replaceChildren();
  for (const [i, file] of files.entries()) {
    $("progress").hidden = false;
    $("progress").value = 0;
    if (many) $("summary").textContent = "Reading " + file.name + ", " + (i + 1) + " of " + files.length;
    const result = await examine(file);
    if (mine !== drops) return; // others were dropped meanwhile
    moods[result[0]]++;
    if (many) $("files").append(line(file, result));
    else show(...result);
  }
  $("progress").hidden = true;
  if (many) $("summary").textContent = summary(files.length, moods);
}

// summary can't be read as more than it is: what is not signed comes first.
function summary(all, moods) {
  const parts = [];
  if (moods.unsigned > 0) parts.push(moods.unsigned + " of " + all + " files are NOT signed");
  if (moods.unsure > 0) parts.push("of " + moods.unsure + " nothing is known");
  parts.push(moods.signed === all ? "All " + all + " files are signed" : moods.signed + " signed");
  return parts.join(", ") + ".";
}

// line is a file of the list. It shows the file's result where it is pressed.
function line(file, result) {
  const li = element("li"), button = element("button", file.name + ": " + result[1]);
  li.className = result[0];
  button.type = "button";
  button.addEventListener("click", () => {
    show(...result);
    $("verdict").scrollIntoView({block: "nearest"});
  });
  li.append(button);
  return li;
}

// examine returns what show takes.
async function examine(file) {
  const unread = (reason) => ["unsure", "The file could not be read", reason, [["File", file.name]]];
  let hash;
  try {
    hash = await hashed(file);
  } catch (e) {
    return unread(e.message);
  }
  const facts = [["File", file.name + " (" + size(file.size) + ")"], ["SHA-256", digest(element("code", hash))]];
  let reply, body;
  try {
    reply = await fetch("api/v1/hash/" + hash);
    body = await reply.json();
  } catch (e) {
    body = {detail: "The server could not be asked: " + e.message + "."};
  }
  if (reply && reply.status === 404) {
    return ["unsigned", "Not signed", "No signature of exactly this file is known here. Either no site signed it with this service, " +
      "or it is not the file that was signed: one changed byte is enough.", facts];
  }
  if (!reply || !reply.ok || !body.site) {
    return ["unsure", "No answer", (body.detail || reply.statusText) + " This says nothing about the file.", facts];
  }
  return signed(file, body, facts);
}

// hashed computes the hash of a file in the worker. It never ends where another drop ends the worker.
function hashed(file) {
  return new Promise((resolve, reject) => {
    worker = new Worker("static/hash.js");
    worker.onmessage = ({data}) => {
      if (data.progress !== undefined) {
        $("progress").value = data.progress;
        return;
      }
      worker.terminate();
      worker = null;
      if (data.error) reject(Error("If it is a folder, drop the files in it. The browser says: " + data.error));
      else resolve(data.hash);
    };
    worker.onerror = () => reject(Error("The browser could not start the page's worker."));
    worker.postMessage(file);
  });
}

function digest(e) {
  e.className = "hash";
  return e;
}

async function signed(file, body, facts) {
  const link = "api/v1/certificate/" + body.certificate;
  const kept = await fetch(link, {method: "HEAD"}).then((reply) => reply.ok, () => false);
  const certificate = digest(element("code"));
  certificate.append(kept ? Object.assign(element("a", body.certificate), {href: link}) : body.certificate);
  return ["signed", "Signed by " + body.site,
    "Whoever held the private key of " + body.site + "’s certificate signed exactly this file. The signature was checked when this server received it; " +
    "you can check it again yourself. The date is this server’s word: a signature has none.",
    [["Received", when(body.signedAt)], ...also(body), ...facts, ["Signature", body.algorithm], ["Certificate", certificate]], steps(file.name, body, kept)];
}

// also names the other sites that signed the file.
function also(body) {
  if (!body.alsoSignedBy) return [];
  const more = body.alsoSignedByCount - body.alsoSignedBy.length;
  return [["Also signed by", body.alsoSignedBy.map((s) => s.site).join(", ") + (more > 0 ? " and " + more + " more" : "")]];
}

function when(text) {
  const d = new Date(text), options = {dateStyle: "long", timeStyle: "medium"};
  return d.toLocaleString("en-GB", {...options, timeZone: "UTC"}) + " UTC (" + d.toLocaleString(undefined, options) + " on your clock)";
}

function size(bytes) {
  if (bytes < 1000) return bytes + (bytes === 1 ? " byte" : " bytes");
  const power = Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return (bytes / 1000 ** power).toPrecision(3) + " " + ["", "kB", "MB", "GB", "TB"][power];
}

// quote makes a text one word of a shell.
const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

// steps are the proof, for a shell and any openssl since 1.1.1, LibreSSL included: without -sigalgs, -verify_hostname and -ext, which
// LibreSSL lacks, without file names as arguments, which openssl would escape, and in short lines of base64. A site may have an RSA and
// an ECDSA certificate, so the one that signed is asked for, which takes TLS 1.2. kept says whether this server has the certificate.
function steps(name, body, kept) {
  const site = body.site, seconds = Math.floor(new Date(body.signedAt).getTime() / 1000);
  const kind = body.algorithm.startsWith("RSA") ? "aRSA" : "aECDSA";
  const text = body.signedText, upper = text !== undefined && text !== text.toLowerCase();
  const folder = location.origin + (location.pathname || "/").replace(/[^/]*$/, ""); // a proxy may show the page below a path
  const here = /^[\w.:/%~-]+$/.test(folder) ? folder : quote(folder);
  const names = "openssl x509 -in site.pem -noout -text | sed -n '/Subject Alternative Name/{n;p;}'";
  const all = [
    ["What was signed: the SHA-256 of the file, written in hex" + (upper ? ", in capital letters." : "."),
      "openssl dgst -sha256 -r < " + quote("./" + name) + " | cut -c 1-64 | " + (upper ? "tr a-f A-F | " : "") + "tr -d '\\n' > hash.txt"],
    ["The signature, as this server received it.",
      "echo " + quote(body.signature) + " | fold -w 64 | openssl base64 -d > signature.bin"],
    ["The certificate, from the site itself. If the site is not on port 443, write its port there.",
      "get() { openssl s_client -connect " + site + ":443 -servername " + site + " -showcerts \"$@\" < /dev/null; }\n" +
      "get -tls1_2 -cipher " + kind + " > site.pem || get > site.pem"],
    ["The proof: it prints “Verified OK”.",
      "openssl x509 -in site.pem -noout -pubkey > key.pem\n" +
      "openssl dgst -sha256 -verify key.pem -signature signature.bin hash.txt"],
    ["Whose certificate it is: the first line has to end with “OK”, and " + site + " has to be among the names, or a * for its first part. " +
      "Where a private authority issued it, write -CAfile and the file with that authority’s certificate after “verify”.",
      "openssl verify -purpose sslserver -untrusted site.pem site.pem\n" + names],
  ];
  if (text === undefined) { // received before this server kept the letter case
    all.splice(4, 0, ["It does not? Some sites sign the hash in capital letters.",
      "tr a-f A-F < hash.txt | openssl dgst -sha256 -verify key.pem -signature signature.bin"]);
  }
  if (kept) {
    all.push(["Or the site has another certificate by now. This server keeps the one that it checked with, and what that proves is decided in the " +
      "same way: by an authority that you trust, for the time when the signature came. Then repeat the proof.",
      "curl -fsS " + here + "api/v1/certificate/" + body.certificate + " > site.pem\n" +
      "openssl verify -attime " + seconds + " -purpose sslserver -untrusted site.pem site.pem\n" + names]);
  }
  return all;
}

const drop = $("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", (e) => { if (!drop.contains(e.relatedTarget)) drop.classList.remove("over"); });
drop.addEventListener("drop", (e) => {
  e.preventDefault();
  drop.classList.remove("over");
  if (e.dataTransfer.files.length > 0) check([...e.dataTransfer.files]);
});
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault()); // a near miss must not open the file
$("file").addEventListener("change", (e) => {
  if (e.target.files.length > 0) check([...e.target.files]);
  e.target.value = ""; // so that the same file can be chosen again
});
