// Inside the Payment Element's frame: the form, and the one place that sees card numbers.
"use strict";

const given = new URLSearchParams(location.hash.slice(1));
const embedder = given.get("origin");
const form = document.getElementById("form");

const KINDS = {
  card: {
    label: "Card",
    fields: [
      { name: "number", label: "Card number", autocomplete: "cc-number", code: "incomplete_number",
        fits: (v) => /^\d{12,19}$/.test(v.replace(/\s/g, "")), wrong: "Your card number is incomplete." },
      { name: "expiry", label: "Expiry (MM/YY)", autocomplete: "cc-exp", code: "incomplete_expiry",
        fits: (v) => /^\s*\d{1,2}\s*\/\s*(\d{2}|\d{4})\s*$/.test(v), wrong: "Your card's expiration date is incomplete." },
      { name: "cvc", label: "Security code", autocomplete: "cc-csc", code: "incomplete_cvc",
        fits: (v) => /^\d{3,4}$/.test(v.trim()), wrong: "Your card's security code is incomplete." },
    ],
    detail: (v) => {
      const [month, year] = v.expiry.split("/").map((part) => part.trim());
      return { number: v.number.replace(/\s/g, ""), exp_month: month, exp_year: year, cvc: v.cvc.trim() };
    },
  },
  sepa_debit: {
    label: "SEPA Debit",
    fields: [{ name: "iban", label: "IBAN", code: "incomplete_iban",
      fits: (v) => /^[A-Z]{2}\d{2}[A-Z0-9]{8,30}$/i.test(v.replace(/\s/g, "")), wrong: "Your IBAN is incomplete." }],
    detail: (v) => ({ iban: v.iban.replace(/\s/g, "").toUpperCase() }),
  },
  us_bank_account: {
    label: "US bank account",
    fields: [
      { name: "routing_number", label: "Routing number", code: "incomplete", fits: (v) => /^\d{9}$/.test(v.trim()), wrong: "The routing number has nine digits." },
      { name: "account_number", label: "Account number", code: "incomplete", fits: (v) => /^\d{4,17}$/.test(v.trim()), wrong: "The account number is incomplete." },
    ],
    detail: (v) => ({ ...v, account_holder_type: "individual" }),
  },
  bacs_debit: {
    label: "Bacs Direct Debit",
    fields: [
      { name: "sort_code", label: "Sort code", code: "incomplete", fits: (v) => /^\d{6}$/.test(v.replace(/-/g, "")), wrong: "The sort code has six digits." },
      { name: "account_number", label: "Account number", code: "incomplete", fits: (v) => /^\d{8}$/.test(v.trim()), wrong: "The account number has eight digits." },
    ],
    detail: (v) => ({ sort_code: v.sort_code.replace(/-/g, ""), account_number: v.account_number.trim() }),
  },
};

let chosen = null; // a kind
let saved = null; // the id of a saved method, or null for a new one

function tell(message) {
  window.parent.postMessage({ sandbox: "element", element: given.get("element"), ...message }, embedder);
}

function headers() {
  const all = { Authorization: `Bearer ${given.get("key")}` };
  if (given.get("account")) all["Stripe-Account"] = given.get("account");
  return all;
}

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function fieldsOf(kind) {
  return KINDS[kind].fields.map((field) => ({ ...field, input: form.querySelector(`#panel-${kind} [name=${field.name}]`) }));
}

function state() {
  const inputs = saved ? [] : fieldsOf(chosen);
  tell({
    type: "change",
    value: saved ? { type: chosen, payment_method: { id: saved } } : { type: chosen },
    complete: inputs.every((f) => f.fits(f.input.value)),
    empty: !saved && inputs.every((f) => f.input.value === ""),
    collapsed: false,
  });
}

function choose(kind, { focus = false } = {}) {
  chosen = kind;
  for (const tab of form.querySelectorAll("[role=tab]")) {
    const on = tab.dataset.kind === kind;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    if (on && focus) tab.focus();
  }
  for (const panel of form.querySelectorAll("[role=tabpanel]")) panel.hidden = panel.id !== `panel-${kind}`;
  state();
}

function panelOf(kind) {
  const rows = KINDS[kind].fields.map((field) => {
    const input = make("input", { type: "text", name: field.name, autocomplete: field.autocomplete || "off", inputMode: field.name === "iban" ? "text" : "numeric" });
    input.id = `${kind}-${field.name}`;
    input.setAttribute("aria-describedby", `${kind}-error`);
    input.addEventListener("input", () => { input.removeAttribute("aria-invalid"); state(); });
    return make("label", { htmlFor: input.id }, field.label, input);
  });
  const error = make("p", { id: `${kind}-error`, className: "error" });
  error.setAttribute("role", "alert");
  const grid = kind === "card" ? [rows[0], make("div", { className: "pair" }, rows[1], rows[2])] : rows;
  const panel = make("section", { id: `panel-${kind}` }, ...grid, error);
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", `tab-${kind}`);
  return panel;
}

function tabsOf(kinds) {
  const tabs = kinds.map((kind) => {
    const tab = make("button", { type: "button", id: `tab-${kind}`, textContent: KINDS[kind].label });
    tab.dataset.kind = kind;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", `panel-${kind}`);
    tab.addEventListener("click", () => choose(kind));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose(kinds[(kinds.indexOf(kind) + step + kinds.length) % kinds.length], { focus: true });
    });
    return tab;
  });
  const list = make("div", {}, ...tabs);
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Payment method");
  return list;
}

function savedOf(methods, onNew) {
  const rows = methods.map((method) => {
    const radio = make("input", { type: "radio", name: "saved", value: method.id });
    radio.addEventListener("change", () => { saved = method.id; chosen = method.type; onNew(false); state(); resize(); });
    return make("label", {}, radio, ` ${method.brand || method.type} ending in ${method.last4}`);
  });
  const fresh = make("input", { type: "radio", name: "saved", value: "", checked: true });
  fresh.addEventListener("change", () => { saved = null; onNew(true); state(); resize(); });
  return make("fieldset", {}, make("legend", {}, "Pay with"), ...rows, make("label", {}, fresh, " A new payment method"));
}

function resize() {
  tell({ type: "height", height: document.documentElement.scrollHeight });
}

function draw(session) {
  const order = (given.get("order") || "").split(",").filter((kind) => session.payment_method_types.includes(kind));
  const kinds = [...new Set([...order, ...session.payment_method_types])].filter((kind) => KINDS[kind]);
  const fresh = make("div", {}, ...(kinds.length > 1 ? [tabsOf(kinds)] : []), ...kinds.map(panelOf));
  const parts = [fresh];
  if (session.customer_payment_methods.length) {
    parts.unshift(savedOf(session.customer_payment_methods, (on) => {
      fresh.hidden = !on;
      if (on) choose(kinds[0]);
    }));
  }
  form.replaceChildren(...parts);
  form.removeAttribute("aria-busy");
  choose(kinds[0]);
  new ResizeObserver(resize).observe(document.body);
  tell({ type: "ready" });
}

// The first thing that is not filled in, as Stripe.js words it; null where all is.
function firstWrong() {
  if (saved) return null;
  const wrong = fieldsOf(chosen).find((f) => !f.fits(f.input.value));
  const error = form.querySelector(`#${chosen}-error`);
  error.textContent = wrong ? wrong.wrong : "";
  if (!wrong) return null;
  wrong.input.setAttribute("aria-invalid", "true");
  wrong.input.focus();
  return { type: "validation_error", code: wrong.code, message: wrong.wrong };
}

async function method(billing) {
  if (saved) return { id: saved };
  const wrong = firstWrong();
  if (wrong) return { error: wrong };
  const values = Object.fromEntries(fieldsOf(chosen).map((f) => [f.name, f.input.value]));
  const body = new URLSearchParams({ type: chosen });
  for (const [name, value] of Object.entries(KINDS[chosen].detail(values))) body.set(`${chosen}[${name}]`, value);
  for (const name of ["name", "email", "phone"]) if (billing && billing[name]) body.set(`billing_details[${name}]`, billing[name]);
  const reply = await (await fetch("/v1/payment_methods", { method: "POST", headers: headers(), body })).json();
  if (reply.error) form.querySelector(`#${chosen}-error`).textContent = reply.error.message;
  return reply.error ? { error: reply.error } : { id: reply.id };
}

window.addEventListener("message", async (event) => {
  if (event.origin !== embedder || event.source !== window.parent) return;
  const { sandbox, ask, call, billing } = event.data || {};
  if (sandbox !== "ask") return;
  if (ask === "method") tell({ type: "answer", call, ...(await method(billing).catch(() => ({ error: { type: "api_connection_error", message: "We could not reach the payment service." } }))) });
  if (ask === "validate") tell({ type: "answer", call, error: firstWrong() });
  if (ask === "focus") form.querySelector("input").focus();
});

const asked = new URLSearchParams({ client_secret: given.get("secret") });
if (given.get("session")) asked.set("customer_session_client_secret", given.get("session"));
fetch(`/v1/elements/sessions?${asked}`, { headers: headers() })
  .then((reply) => reply.json())
  .then((reply) => (reply.error ? tell({ type: "loaderror", error: reply.error }) : draw(reply)))
  .catch(() => tell({ type: "loaderror", error: { type: "api_connection_error", message: "We could not reach the payment service." } }));
