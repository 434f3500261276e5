// The page: hash the dropped file in a worker, ask who signed that hash, say so, and say how to prove it. Everything shown goes in
// as text. What the server can't prove, it is said to say.
"use strict";

const $ = (id) => document.getElementById(id);
let worker = null, asked = 0;

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

function check(file) {
  if (worker) worker.terminate(); // the previous file, if it is still being read
  asked++;
  worker = new Worker("static/hash.js");
  $("result").hidden = true;
  $("progress").hidden = false;
  $("progress").value = 0;
  const unread = (reason) => show("unsure", "The file could not be read", reason, [["File", file.name]]);
  worker.onmessage = ({data}) => {
    if (data.progress !== undefined) {
      $("progress").value = data.progress;
      return;
    }
    worker.terminate();
    worker = null;
    if (data.error) unread("If it is a folder, drop the files in it one by one. The browser says: " + data.error);
    else ask(file, data.hash);
  };
  worker.onerror = () => unread("The browser could not start the page's worker.");
  worker.postMessage(file);
}

async function ask(file, hash) {
  const question = asked;
  const facts = [["File", file.name + " (" + size(file.size) + ")"], ["SHA-256", digest(element("code", hash))]];
  let reply, body;
  try {
    reply = await fetch("api/v1/hash/" + hash);
    body = await reply.json();
  } catch (e) {
    body = {detail: "The server could not be asked: " + e.message + "."};
  }
  if (question !== asked) return; // another file was dropped meanwhile
  if (reply && reply.status === 404) {
    show("unsigned", "Not signed", "No signature of exactly this file is known here. Either no site signed it with this service, " +
      "or it is not the file that was signed: one changed byte is enough.", facts);
  } else if (!reply || !reply.ok || !body.site) {
    show("unsure", "No answer", (body.detail || reply.statusText) + " This says nothing about the file.", facts);
  } else {
    signed(file, body, facts);
  }
}

function digest(e) {
  e.className = "hash";
  return e;
}

async function signed(file, body, facts) {
  const question = asked, link = "api/v1/certificate/" + body.certificate;
  const kept = await fetch(link, {method: "HEAD"}).then((reply) => reply.ok, () => false);
  if (question !== asked) return;
  const certificate = digest(element("code"));
  certificate.append(kept ? Object.assign(element("a", body.certificate), {href: link}) : body.certificate);
  show("signed", "Signed by " + body.site,
    "Whoever held the private key of " + body.site + "’s certificate signed exactly this file. The signature was checked when this server received it; " +
    "you can check it again yourself. The date is this server’s word: a signature has none.",
    [["Received", when(body.signedAt)], ...also(body), ...facts, ["Signature", body.algorithm], ["Certificate", certificate]], steps(file.name, body, kept));
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
  if (e.dataTransfer.files.length > 0) check(e.dataTransfer.files[0]);
});
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault()); // a near miss must not open the file
$("file").addEventListener("change", (e) => {
  if (e.target.files.length > 0) check(e.target.files[0]);
  e.target.value = ""; // so that the same file can be chosen again
});
