// Does a sign-up form's proof of work when it is sent: <form data-challenge="URL of /v1/challenge">.
"use strict";

(() => {
  const AT_ONCE = 500;

  async function solve({ algorithm, challenge, maxNumber, salt }) {
    const text = new TextEncoder();
    const wanted = challenge.match(/../g).map((byte) => parseInt(byte, 16));
    for (let first = 0; first <= maxNumber; first += AT_ONCE) {
      const numbers = Array.from({ length: AT_ONCE }, (_, index) => first + index);
      const digests = await Promise.all(
        numbers.map((number) => crypto.subtle.digest(algorithm, text.encode(salt + number))),
      );
      const found = digests.findIndex((digest) => {
        const bytes = new Uint8Array(digest);
        return wanted.every((byte, index) => bytes[index] === byte);
      });
      if (found >= 0) return first + found;
    }
    throw new Error("there is no solution");
  }

  async function proof(url) {
    const challenge = await (await fetch(url, { credentials: "omit" })).json();
    const { algorithm, salt, signature } = challenge;
    const number = await solve(challenge);
    return btoa(JSON.stringify({ algorithm, challenge: challenge.challenge, number, salt, signature }));
  }

  async function send(form) {
    const field = form.elements.namedItem("altcha") ?? document.createElement("input");
    field.type = "hidden";
    field.name = "altcha";
    form.append(field);
    try {
      field.value = await proof(form.dataset.challenge);
    } catch {
      field.value = ""; // the answer says what to do
    }
    delete form.dataset.working;
    HTMLFormElement.prototype.submit.call(form);
  }

  for (const form of document.querySelectorAll("form[data-challenge]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (form.dataset.working) return; // pressed twice
      form.dataset.working = "1";
      send(form);
    });
  }
})();
