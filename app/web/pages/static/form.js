/*
 * Puts a newsletter's sign-up form where its script tag stands, or with data-mode="popup" into a
 * dialog. It loads nothing from elsewhere, sets no cookie and tells nobody who reads the page.
 * The service writes the newsletter's texts where this file ends.
 */
((data) => {
  "use strict";

  const STYLE = `
    :host {
      all: initial !important;
      color-scheme: inherit !important; /* the form is dark where its page is */
      display: block !important;
    }
    :host([data-theme="light"]) { color-scheme: light !important; }
    :host([data-theme="dark"]) { color-scheme: dark !important; }
    :host([data-theme="auto"]) { color-scheme: light dark !important; }
    :host([data-mode="popup"]) { position: fixed !important; }

    .card {
      --accent: var(--newsletter-accent, #1d4ed8);
      --on-accent: var(--newsletter-on-accent, #fff);
      --sheet: var(--newsletter-background, #fff);
      --ink: var(--newsletter-text, #1b2130);
      --line: var(--newsletter-border, #dedad0);
      --alarm: #b42318;
      --quiet: color-mix(in srgb, var(--ink) 74%, var(--sheet));
      --edge: color-mix(in srgb, var(--ink) 58%, var(--sheet));
      --radius: var(--newsletter-radius, 12px);
      --inner: min(var(--radius), 8px);
      box-sizing: border-box;
      max-width: 36em;
      padding: clamp(1.25em, 6%, 2em);
      border: 1px solid var(--line);
      border-radius: var(--radius);
      background: var(--sheet);
      color: var(--ink);
      font: 1em/1.5 var(--newsletter-font, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif);
      overflow-wrap: anywhere;
      text-align: start;
    }
    @supports (color: light-dark(red, red)) {
      .card {
        --accent: var(--newsletter-accent, light-dark(#1d4ed8, #9dbaff));
        --on-accent: var(--newsletter-on-accent, light-dark(#fff, #101c3d));
        --sheet: var(--newsletter-background, light-dark(#fff, #1a2030));
        --ink: var(--newsletter-text, light-dark(#1b2130, #e8ebf2));
        --line: var(--newsletter-border, light-dark(#dedad0, #2e374b));
        --alarm: light-dark(#b42318, #ffa79c);
      }
    }
    .card *, .card ::before { box-sizing: border-box; }
    [hidden] { display: none !important; }

    dialog.card {
      width: min(30em, 100% - 2em);
      max-height: calc(100% - 2em);
      margin: auto;
      overflow: auto;
      overscroll-behavior: contain;
      box-shadow: 0 24px 64px -16px rgb(10 14 25 / 45%);
    }
    dialog::backdrop { background: rgb(10 14 25 / 55%); }
    @media (prefers-reduced-motion: no-preference) {
      dialog[open] { animation: rise 200ms ease-out; }
      @keyframes rise { from { opacity: 0; translate: 0 0.75em; } }
    }

    h2, p { margin: 0; }
    .top { display: flex; gap: 1em; align-items: start; justify-content: space-between; }
    h2 { font-size: 1.375em; font-weight: 650; line-height: 1.25; letter-spacing: -0.01em; text-wrap: balance; }
    h2:focus { outline: none; }
    .pitch { margin-top: 0.5em; text-wrap: pretty; }
    .promise, .policy { color: var(--quiet); font-size: 0.9375em; }
    .status p { margin-top: 0.5em; }
    form { display: grid; gap: 1em; margin-top: 1.25em; }
    .field { display: grid; gap: 0.375em; }
    .field > label { font-weight: 600; }
    a { display: inline-block; padding-block: 0.125em; color: var(--accent); text-underline-offset: 0.2em; }
    a:hover { text-decoration-thickness: 2px; }

    input { margin: 0; color: inherit; font: inherit; }
    input[type="email"] {
      width: 100%;
      min-height: 2.875em;
      padding: 0.5em 0.875em;
      border: 1px solid var(--edge);
      border-radius: var(--inner);
      background: var(--sheet);
    }
    .choice { display: grid; grid-template-columns: auto 1fr; gap: 0.375em 0.75em; }
    .choice > :not(input, label) { grid-column: 2; }
    .choice > .fault { grid-column: 1 / -1; }
    .choice label { white-space: pre-line; }
    input[type="checkbox"] { width: 1.5em; height: 1.5em; accent-color: var(--accent); }
    input[aria-invalid] { outline: 2px solid var(--alarm); outline-offset: 1px; }
    .fault, .message { color: var(--alarm); font-weight: 600; font-size: 0.9375em; }
    .message a { margin-inline-start: 0.25em; }

    button {
      min-height: 2.875em;
      padding: 0.5em 1.5em;
      border: 1px solid transparent;
      border-radius: var(--inner);
      background: var(--accent);
      color: var(--on-accent);
      font: inherit;
      font-weight: 600;
      cursor: pointer;
    }
    button:hover { background: color-mix(in srgb, var(--accent) 86%, var(--ink)); }
    button[aria-disabled] { cursor: progress; opacity: 0.7; }
    .close {
      flex: none;
      min-height: 2em;
      margin-block: -0.25em;
      padding: 0.25em 0.75em;
      border-color: var(--edge);
      background: none;
      color: var(--ink);
      font-size: 0.875em;
      font-weight: 400;
    }
    .close:hover { background: color-mix(in srgb, var(--ink) 8%, var(--sheet)); }
    :is(a, button, input):focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
    .decoy { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    @media (forced-colors: active) { button { border-color: ButtonText; } }
  `;

  const { texts, faults } = data;
  const tag = document.currentScript;
  const options = tag.dataset;
  const isPopup = options.mode === "popup" && typeof HTMLDialogElement === "function";

  /* Elements are made one by one: no text of ours or of others is ever read as HTML. */
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  /* ---- What is on the card ---- */

  const title = make("h2", { id: "title", tabindex: "-1" }, options.title || texts.title);
  const pitch = make("p", { id: "pitch", class: "pitch", dir: "auto" });
  const email = make("input", {
    id: "email", name: "email", type: "email", required: "", maxlength: "254",
    autocomplete: "email", autocapitalize: "none", spellcheck: "false",
  });
  const website = make("input", { id: "website", name: "website", tabindex: "-1", autocomplete: "off" });
  const consent = make("input", { id: "consent", name: "consent", type: "checkbox", required: "" });
  const wording = make("label", { for: "consent", dir: "auto" });
  const policy = make("a", { target: "_blank", rel: "noopener" }, texts.policy);
  const promise = make("p", { class: "promise", dir: "auto" });
  const message = make("p", { class: "message", role: "alert" });
  const status = make("div", { class: "status", role: "status" });
  const button = make("button", { type: "submit" }, texts.submit);
  const fields = { email, consent };
  const notes = {};
  for (const name in fields) notes[name] = make("p", { id: `${name}-fault`, class: "fault", hidden: "" });

  const form = make("form", { novalidate: "" },
    make("div", { class: "field" }, make("label", { for: "email" }, texts.email), notes.email, email),
    make("div", { class: "decoy", "aria-hidden": "true" },
      make("label", { for: "website" }, texts.decoy), website),
    make("div", { class: "choice" }, notes.consent, consent, wording,
      make("p", { class: "policy" }, policy)),
    message, button, promise);

  const fill = () => {
    pitch.textContent = data.pitch;
    pitch.hidden = !data.pitch;
    wording.textContent = data.consent_text;
    policy.href = data.policy_url;
    promise.textContent = data.promise;
    promise.hidden = !data.promise;
  };

  const top = make("div", { class: "top" }, title);
  const card = make(isPopup ? "dialog" : "section", {
    class: "card", "aria-labelledby": "title", "aria-describedby": "pitch",
  }, top, pitch, status, form);

  const host = make("newsletter-form", { lang: data.language, dir: data.direction });
  host.dataset.mode = isPopup ? "popup" : "inline";
  if (options.theme) host.dataset.theme = options.theme;
  const root = host.attachShadow({ mode: "open" });
  root.append(card);
  try { /* made by script, a style sheet is not what a page's CSP forbids */
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
  } catch {
    root.prepend(make("style", tag.nonce ? { nonce: tag.nonce } : {}, STYLE));
  }
  /* A page's keyboard shortcuts must not take what is typed here for theirs. */
  for (const kind of ["keydown", "keypress", "keyup"]) {
    root.addEventListener(kind, (event) => event.stopPropagation());
  }

  /* ---- What this browser remembers ---- */

  const key = `newsletter-${data.newsletter}`;
  const names = () => window.name.split(" ");

  const isRemembered = () => {
    try { if (localStorage.getItem(key)) return true; } catch { /* blocked; then the tab knows */ }
    return names().includes(key);
  };

  /* Where storage is blocked the tab's name holds it, unless the page has given it one. */
  const remember = (what) => {
    try {
      localStorage.setItem(key, what);
      return true;
    } catch {
      if (isRemembered()) return true;
      if (window.name && !window.name.startsWith("newsletter-")) return false;
      window.name = `${window.name} ${key}`.trim();
      return true;
    }
  };

  /* ---- Sending ---- */

  const say = (text, withLink) => {
    message.replaceChildren(text);
    if (withLink) {
      message.append(" ", make("a", { href: data.page, target: "_blank", rel: "noopener" }, texts.elsewhere));
    }
  };

  const show = (found) => {
    for (const [name, field] of Object.entries(fields)) {
      const text = found[name];
      notes[name].textContent = text || "";
      notes[name].hidden = !text;
      for (const [key, value] of [["aria-invalid", "true"], ["aria-describedby", `${name}-fault`]]) {
        if (text) field.setAttribute(key, value);
        else field.removeAttribute(key);
      }
    }
    const first = Object.keys(fields).find((name) => found[name]);
    if (first) fields[first].focus();
    return Boolean(first);
  };

  const lacking = () => ({
    email: email.value.trim() ? "" : texts.no_email,
    consent: consent.checked ? "" : texts.no_consent,
  });

  const body = () => {
    const { protocol, origin, pathname } = location;
    return JSON.stringify({
      email: email.value.trim(),
      consent: true,
      newsletter: data.newsletter,
      wording: data.wording,
      policy_version: data.policy_version,
      locale: data.language,
      website: website.value,
      ...(protocol.startsWith("http") && { page_url: origin + pathname }),
    });
  };

  const call = (url, init) => fetch(url, {
    mode: "cors",
    credentials: "omit",
    signal: AbortSignal.timeout ? AbortSignal.timeout(20000) : undefined,
    ...init,
  });

  const thank = () => {
    remember("used");
    title.textContent = texts.done;
    pitch.remove();
    card.removeAttribute("aria-describedby");
    form.remove();
    status.append(make("p", {}, texts.asked), make("p", {}, texts.next));
    title.focus();
  };

  const reload = async () => {
    const answer = await call(data.form, { cache: "no-cache" });
    if (!answer.ok) return say(texts.failed, true);
    Object.assign(data, await answer.json());
    fill();
    consent.checked = false;
    say(texts.changed);
    return consent.focus();
  };

  const refuse = async (answer) => {
    const problem = await answer.json().catch(() => ({}));
    const found = {};
    for (const { pointer, detail } of problem.errors || []) found[pointer.slice(1)] = faults[detail] || detail;
    if (answer.status === 409 || found.policy_version || found.wording) return reload();
    return show(found) || say(texts.failed, true);
  };

  const send = async () => {
    try {
      const answer = await call(data.action, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: body(),
      });
      await (answer.status === 202 ? thank() : refuse(answer));
    } catch {
      say(texts.unreachable, true);
      console.warn(`Newsletter: nothing could be sent. Is ${location.origin} among allowed_origins of ${data.newsletter}?`);
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.hasAttribute("aria-disabled")) return;
    say("");
    if (show(lacking())) return;
    button.setAttribute("aria-disabled", "true");
    button.textContent = texts.sending;
    await send();
    button.textContent = texts.submit;
    button.removeAttribute("aria-disabled");
  });

  /* ---- The pop-up ---- */

  const dress = () => {
    let before = null;
    const close = make("button", { type: "button", class: "close" }, texts.close);
    top.append(close);
    close.addEventListener("click", () => card.close());

    card.addEventListener("close", () => {
      if (form.isConnected) remember("closed");
      host.remove();
      before?.focus?.({ preventScroll: true });
    });
    card.addEventListener("pointerdown", ({ target, clientX: x, clientY: y }) => {
      const { left, right, top: upper, bottom } = card.getBoundingClientRect();
      const isOutside = x < left || x > right || y < upper || y > bottom;
      if (target === card && isOutside && !email.value) card.close();
    });
    card.addEventListener("keydown", (event) => {
      if (event.key !== "Tab") return;
      const stops = [...card.querySelectorAll("a, button, input:not([tabindex])")]
        .filter((element) => element.getClientRects().length);
      const [first, last] = [stops[0], stops[stops.length - 1]];
      const at = root.activeElement;
      const isLeaving = event.shiftKey ? at === first || at === title : at === last;
      if (!isLeaving) return;
      event.preventDefault();
      (event.shiftKey ? last : first).focus();
    });
    return () => {
      before = document.activeElement;
      document.body.append(host);
      card.showModal();
      title.focus();
    };
  };

  const isInterrupting = () => document.hidden
    || Boolean(document.querySelector('dialog[open], [aria-modal="true"]'))
    || Boolean(document.activeElement?.matches("input, textarea, select, iframe, [contenteditable]"));

  /* Opens once: after some seconds or so far down the page, whichever comes first. */
  const lieInWait = (open) => {
    const number = (name) => (options[name] ? Number(options[name]) : NaN);
    const share = number("scroll");
    const delay = number("delay") >= 0 ? number("delay") : share >= 0 ? Infinity : 10;
    let timer = 0;

    const appear = () => {
      window.removeEventListener("scroll", look);
      clearTimeout(timer);
      if (isRemembered()) return;
      if (isInterrupting()) timer = setTimeout(appear, 1000);
      else if (remember("shown")) open();
    };
    const look = () => {
      const page = document.documentElement;
      if ((page.scrollTop / (page.scrollHeight - page.clientHeight)) * 100 >= share) appear();
    };
    if (delay < Infinity) timer = setTimeout(appear, delay * 1000);
    if (share >= 0) window.addEventListener("scroll", look, { passive: true });
  };

  const start = () => {
    fill();
    if (!isPopup) return tag.closest("head") ? document.body.append(host) : tag.after(host);
    return isRemembered() ? undefined : lieInWait(dress());
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})(__NEWSLETTER__);
