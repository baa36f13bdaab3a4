// That somebody is here: told once, when they touch the page or press a key. A machine that merely
// opens the link does neither.
(() => {
  "use strict";
  const seen = document.body.dataset.seen;
  if (!seen || !navigator.sendBeacon) return;
  const kinds = ["pointerdown", "keydown"];
  const tell = (event) => {
    if (!event.isTrusted) return;
    for (const kind of kinds) removeEventListener(kind, tell, true);
    navigator.sendBeacon(seen);
  };
  for (const kind of kinds) addEventListener(kind, tell, true);
})();

// Stripe's Payment Element, where Stripe.js could be loaded; the link below it works without.
(() => {
  "use strict";
  const form = document.getElementById("payment");
  if (!form || !window.Stripe) return;
  const { key, secret, account, order, locale, back } = form.dataset;
  const stripe = window.Stripe(key, account ? { stripeAccount: account } : undefined);
  const elements = stripe.elements({ clientSecret: secret, locale });
  const element = elements.create("payment", { paymentMethodOrder: order.split(",") });
  const button = form.querySelector("button");
  const told = document.getElementById("payment-error");
  element.on("ready", () => { form.dataset.ready = "yes"; });
  form.hidden = false;
  element.mount("#payment-element");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    told.hidden = true;
    const confirm = secret.startsWith("seti_") ? "confirmSetup" : "confirmPayment";
    const { error } = await stripe[confirm]({
      elements,
      confirmParams: { return_url: new URL(back, location.href).href },
      redirect: "if_required",
    });
    if (!error) {
      location.assign(back);
      return;
    }
    told.textContent = error.message;
    told.hidden = false;
    button.disabled = false;
  });
})();
