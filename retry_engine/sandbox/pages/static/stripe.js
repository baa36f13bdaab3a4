// A stand-in for Stripe.js, for a sandbox: the calls that a recovery page needs, and no others.
// What it leaves out is listed in retry_engine/sandbox/pages/stripe_js.py.
(() => {
  "use strict";

  const home = new URL(document.currentScript.src).origin;

  class IntegrationError extends Error {
    constructor(message) { super(message); this.name = "IntegrationError"; }
  }

  const unreachable = { type: "api_connection_error", message: "We could not reach the payment service." };

  function intentOf(secret, kind) {
    const [id] = String(secret).split("_secret_");
    const prefix = { payment_intents: "pi_", setup_intents: "seti_" }[kind];
    if (!id.startsWith(prefix) || !String(secret).includes("_secret_")) throw new IntegrationError(`Invalid value for clientSecret: it belongs to no ${kind.slice(0, -1)}.`);
    return id;
  }

  class Emitter {
    #listeners = {};
    on(name, listener) { (this.#listeners[name] ||= []).push(listener); return this; }
    once(name, listener) { const one = (e) => { this.off(name, one); listener(e); }; return this.on(name, one); }
    off(name, listener) { this.#listeners[name] = (this.#listeners[name] || []).filter((l) => listener && l !== listener); return this; }
    tell(name, event) { for (const listener of [...(this.#listeners[name] || [])]) listener(event); }
  }

  let elementCount = 0;

  class PaymentElement extends Emitter {
    #settings; #frame = null; #waiting = new Map(); #calls = 0; #id = `pe${++elementCount}`; #ready = null;
    constructor(settings) { super(); this.#settings = settings; this.#listen(); }

    mount(target) {
      const place = typeof target === "string" ? document.querySelector(target) : target;
      if (!place) throw new IntegrationError(`The selector you specified (${target}) applies to no DOM elements that are currently on the page.`);
      const frame = document.createElement("iframe");
      frame.title = "Secure payment input frame";
      frame.src = `${home}/elements/payment#${new URLSearchParams({ ...this.#settings, element: this.#id, origin: location.origin })}`;
      frame.allow = "payment *";
      Object.assign(frame.style, { border: "0", width: "100%", height: "240px", display: "block" });
      this.#ready = new Promise((resolve) => { this.once("ready", resolve); });
      place.replaceChildren(frame);
      this.#frame = frame;
    }
    unmount() { this.#frame?.remove(); this.#frame = null; }
    destroy() { this.unmount(); }
    focus() { this.#post({ ask: "focus" }); }
    update() {}
    collapse() {}

    async ask(what, more = {}) {
      if (!this.#frame) throw new IntegrationError("The Payment Element must be mounted first.");
      await this.#ready;
      const call = ++this.#calls;
      return new Promise((resolve) => { this.#waiting.set(call, resolve); this.#post({ ask: what, call, ...more }); });
    }
    #post(message) { this.#frame?.contentWindow.postMessage({ sandbox: "ask", ...message }, home); }
    #listen() {
      window.addEventListener("message", (event) => {
        if (event.origin !== home || event.source !== this.#frame?.contentWindow) return;
        const { sandbox, element, type, ...rest } = event.data || {};
        if (sandbox !== "element" || element !== this.#id) return;
        if (type === "height") this.#frame.style.height = `${rest.height}px`;
        else if (type === "answer") { this.#waiting.get(rest.call)?.(rest); this.#waiting.delete(rest.call); }
        else this.tell(type, { elementType: "payment", ...rest });
      });
    }
  }

  class Elements {
    #settings; #made = null;
    constructor(settings) { this.#settings = settings; }
    get clientSecret() { return this.#settings.secret; }
    create(type, options = {}) {
      if (type !== "payment") throw new IntegrationError(`This stand-in has the payment element only, not ${type}.`);
      if (this.#made) throw new IntegrationError("Can only create one Element of type payment through elements().");
      const order = options.paymentMethodOrder || [];
      this.#made = new PaymentElement({ ...this.#settings, order: order.join(",") });
      return this.#made;
    }
    getElement(type) { return type === "payment" ? this.#made : null; }
    update() {}
    async fetchUpdates() { return {}; }
    async submit() {
      const { error } = await this.#made.ask("validate");
      return error ? { error } : {};
    }
  }

  // The bank's page in a frame over the merchant's; resolves when it has been answered.
  function challenge(url) {
    return new Promise((resolve) => {
      const cover = document.createElement("div");
      const frame = document.createElement("iframe");
      cover.setAttribute("role", "dialog");
      cover.setAttribute("aria-modal", "true");
      cover.setAttribute("aria-label", "Your bank asks you to authenticate");
      Object.assign(cover.style, { position: "fixed", inset: "0", background: "rgba(0,0,0,.5)", zIndex: "2147483647", display: "grid", placeItems: "center" });
      frame.title = "3D Secure";
      frame.name = "stripe-challenge-frame";
      const target = new URL(new URL(url).pathname, home);
      target.searchParams.set("framed", "1");
      frame.src = target.href;
      Object.assign(frame.style, { border: "0", background: "Canvas", borderRadius: "8px", width: "min(26rem, 94vw)", height: "min(30rem, 90vh)" });
      const over = (event) => {
        if (event.origin !== home || event.source !== frame.contentWindow || event.data?.sandbox !== "challenge-over") return;
        window.removeEventListener("message", over);
        cover.remove();
        resolve();
      };
      window.addEventListener("message", over);
      cover.append(frame);
      document.body.append(cover);
      frame.focus();
    });
  }

  class StripeInstance {
    #key; #options;
    constructor(key, options) { this.#key = key; this.#options = options; }

    elements(options = {}) {
      if (!options.clientSecret) throw new IntegrationError("This stand-in needs a clientSecret: deferred intents are not in it.");
      return new Elements({
        key: this.#key, secret: options.clientSecret,
        ...(this.#options.stripeAccount ? { account: this.#options.stripeAccount } : {}),
        ...(options.customerSessionClientSecret ? { session: options.customerSessionClientSecret } : {}),
      });
    }
    confirmPayment(options) { return this.#confirm("payment_intents", "paymentIntent", options); }
    confirmSetup(options) { return this.#confirm("setup_intents", "setupIntent", options); }
    retrievePaymentIntent(secret) { return this.#retrieve("payment_intents", "paymentIntent", secret); }
    retrieveSetupIntent(secret) { return this.#retrieve("setup_intents", "setupIntent", secret); }
    async handleNextAction({ clientSecret }) {
      const [kind, name] = String(clientSecret).startsWith("pi_") ? ["payment_intents", "paymentIntent"] : ["setup_intents", "setupIntent"];
      const found = await this.#retrieve(kind, name, clientSecret);
      return found.error ? found : this.#settle(kind, name, clientSecret, found[name]);
    }

    async #call(method, path, params) {
      const headers = { Authorization: `Bearer ${this.#key}` };
      if (this.#options.stripeAccount) headers["Stripe-Account"] = this.#options.stripeAccount;
      const body = new URLSearchParams(params);
      try {
        const reply = method === "GET" ? await fetch(`${home}${path}?${body}`, { headers }) : await fetch(`${home}${path}`, { method, headers, body });
        return await reply.json();
      } catch { return { error: unreachable }; }
    }
    async #retrieve(kind, name, secret) {
      const found = await this.#call("GET", `/v1/${kind}/${intentOf(secret, kind)}`, { client_secret: secret });
      return found.error ? { error: found.error } : { [name]: found };
    }
    async #settle(kind, name, secret, intent) {
      if (intent.status !== "requires_action") return { [name]: intent };
      const action = intent.next_action;
      await challenge(action.use_stripe_sdk?.stripe_js || action.redirect_to_url.url);
      const after = await this.#retrieve(kind, name, secret);
      const error = after[name]?.last_payment_error || after[name]?.last_setup_error;
      return error && after[name].status === "requires_payment_method" ? { error: { ...error, [kind.slice(0, -1)]: after[name] } } : after;
    }
    async #confirm(kind, name, { elements, clientSecret, confirmParams = {}, redirect = "always" }) {
      const secret = clientSecret || elements?.clientSecret;
      const id = intentOf(secret, kind);
      if (redirect !== "if_required" && !confirmParams.return_url) throw new IntegrationError("confirmParams.return_url must be given unless redirect is if_required.");
      let method = confirmParams.payment_method;
      if (!method) {
        const made = await elements.getElement("payment").ask("method", { billing: confirmParams.payment_method_data?.billing_details });
        if (made.error) return { error: made.error };
        method = made.id;
      }
      const params = { client_secret: secret, payment_method: method, use_stripe_sdk: "true" };
      if (confirmParams.return_url) params.return_url = confirmParams.return_url;
      const confirmed = await this.#call("POST", `/v1/${kind}/${id}/confirm`, params);
      if (confirmed.error) return { error: confirmed.error };
      const result = await this.#settle(kind, name, secret, confirmed);
      if (result.error || redirect === "if_required") return result;
      const back = new URL(confirmParams.return_url);
      const single = kind.slice(0, -1);
      back.searchParams.set(single, id);
      back.searchParams.set(`${single}_client_secret`, secret);
      back.searchParams.set("redirect_status", ["succeeded", "processing"].includes(result[name].status) ? "succeeded" : "failed");
      window.location.assign(back);
      return new Promise(() => {}); // the page is being left
    }
  }

  window.Stripe = (key, options = {}) => {
    if (!/^pk_test_/.test(key)) throw new IntegrationError("Please call Stripe() with your publishable key: this stand-in takes pk_test_ keys.");
    return new StripeInstance(key, options);
  };
  window.Stripe.version = "sandbox";
})();
