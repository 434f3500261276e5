// The page: hash the dropped file in a worker, ask who signed that hash, say so. Everything shown goes in as text.
"use strict";

const $ = (id) => document.getElementById(id);
let worker = null;

function show(verdict, mood, explanation, facts) {
  $("progress").hidden = true;
  $("result").hidden = false;
  $("verdict").textContent = verdict;
  $("verdict").className = mood;
  $("explanation").textContent = explanation;
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}

function check(file) {
  if (worker) worker.terminate(); // the previous file, if it is still being read
  worker = new Worker("/static/hash.js");
  $("result").hidden = true;
  $("progress").hidden = false;
  $("progress").value = 0;
  worker.onmessage = ({data}) => {
    if (data.progress !== undefined) {
      $("progress").value = data.progress;
      return;
    }
    worker.terminate();
    worker = null;
    if (data.error) show("The file could not be read", "bad", data.error, [["File", file.name]]);
    else ask(file, data.hash);
  };
  worker.onerror = () => show("The file could not be read", "bad", "The browser could not start the page's worker.", []);
  worker.postMessage(file);
}

async function ask(file, hash) {
  const facts = [["File", file.name], ["SHA-256", hash]];
  let reply, body;
  try {
    reply = await fetch("/api/v1/hash/" + hash);
    body = await reply.json();
  } catch (e) {
    show("No answer", "bad", "The server could not be asked: " + e.message, facts);
    return;
  }
  if (reply.status === 404) {
    show("Not signed", "bad", "No site has signed this file here. It may have been changed since it was signed, or never have been.", facts);
  } else if (!reply.ok) {
    show("No answer", "bad", body.detail || reply.statusText, facts);
  } else {
    show("Signed by " + body.site, "good", "on " + new Date(body.signedAt).toLocaleString(), [
      ...facts, ["Algorithm", body.algorithm], ["Certificate", body.certificate], ["Upload", body.upload + ", position " + body.position],
    ]);
  }
}

const drop = $("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (e) => {
  e.preventDefault();
  drop.classList.remove("over");
  if (e.dataTransfer.files.length > 0) check(e.dataTransfer.files[0]);
});
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault()); // a near miss must not open the file
$("file").addEventListener("change", (e) => { if (e.target.files.length > 0) check(e.target.files[0]); });
