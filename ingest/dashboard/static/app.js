// What the pages do in the browser beyond htmx. Every page and action works without it.
(() => {
  "use strict";

  // Times -------------------------------------------------------------------------------------------------------
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const spoken = (seconds) => {
    const distance = Math.abs(seconds);
    if (distance < 1.5) return "now";
    const [size, unit] = UNITS.find(([size]) => distance >= size) ?? UNITS[3];
    const text = `${Math.floor(distance / size)} ${unit}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };

  const tellTimes = (root = document) => {
    const now = Date.now();
    for (const element of root.querySelectorAll("time[datetime]")) {
      const at = new Date(element.dateTime);
      const text = element.dataset.clock === undefined ? spoken((now - at.getTime()) / 1000) : hour.format(at);
      if (element.textContent !== text) element.textContent = text;
      if (!element.dataset.titled) {
        element.dataset.titled = "1";
        element.title = `${clock.format(at)}\n${element.dateTime}`;
      }
    }
  };
  tellTimes();
  setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);

  // Live parts --------------------------------------------------------------------------------------------------
  const latest = new Map();
  const offline = document.getElementById("offline");

  if (window.Idiomorph) {
    Object.assign(Idiomorph.defaults.callbacks, {
      // What the operator has unfolded stays unfolded.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
      beforeNodeMorphed: (old, fresh) => {
        // A time of ours is told by tellTimes; the server's text would flicker.
        if (old.tagName === "TIME" && fresh.tagName === "TIME" && old.dateTime === fresh.dateTime) return false;
        // What the events tell is not replaced by the less that the status tells.
        return !(old.dataset?.told !== undefined && old.dataset.told === fresh.dataset?.version);
      },
    });
  }

  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (!event.detail.elt.getAttribute("hx-trigger")?.includes("every")) return;
    const selection = getSelection();
    const reading = selection !== null && !selection.isCollapsed && event.detail.elt.contains(selection.anchorNode);
    // Nobody looks, or somebody is about to copy what would change under their hands.
    if (document.hidden || reading) event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.requestConfig.verb !== "get") return;
    const text = event.detail.serverResponse;
    const key = event.detail.target.id;
    if (latest.get(key) === text) event.detail.shouldSwap = false;
    latest.set(key, text);
  });
  document.body.addEventListener("htmx:afterSwap", () => tellTimes());
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr?.status ?? 0;
    offline.hidden = event.detail.successful || (status >= 400 && status < 500);
  });

  // Questions before actions ------------------------------------------------------------------------------------
  const ask = document.getElementById("ask");
  const body = document.getElementById("ask-body");
  let opener = null;

  const open = async (link) => {
    const answer = await fetch(link.href, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const article = page.querySelector("[data-ask-body]");
    if (article === null) throw new Error("no question");
    body.replaceChildren(document.adoptNode(article));
    const heading = article.querySelector("h1");
    heading.id = "ask-title";
    ask.removeAttribute("aria-label");
    ask.setAttribute("aria-labelledby", "ask-title");
    opener = link;
    tellTimes(body);
    ask.showModal();
    (article.querySelector("input:not([type=hidden]), textarea, select") ?? article.querySelector("[data-close]"))?.focus();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-ask]");
    if (link !== null && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      // The question has a page of its own: where the dialog cannot be had, that is shown.
      open(link).catch(() => { location.href = link.href; });
      return;
    }
    if (event.target.closest("dialog [data-close]") !== null || event.target === ask) {
      event.preventDefault();
      ask.close();
      return;
    }
    const copy = event.target.closest("[data-copy]");
    if (copy !== null) {
      navigator.clipboard?.writeText(copy.dataset.copy).then(() => {
        copy.classList.add("copied");
        setTimeout(() => copy.classList.remove("copied"), 1200);
      });
      return;
    }
    if (event.target.closest("[data-dismiss]") !== null) document.getElementById("toast")?.remove();
  });
  ask.addEventListener("close", () => { if (opener?.isConnected) opener.focus(); });

  // Forms -------------------------------------------------------------------------------------------------------
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.clean !== undefined) {
      // What is left empty does not stand in the address.
      for (const input of form.elements) if (input.name && input.value === "") input.disabled = true;
      return;
    }
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    for (const button of form.querySelectorAll("button[type=submit]")) button.setAttribute("aria-busy", "true");
  });
  // Back from the browser's cache a form can be sent again.
  addEventListener("pageshow", () => {
    for (const form of document.forms) {
      delete form.dataset.sent;
      for (const element of form.elements) {
        element.removeAttribute("aria-busy");
        if (form.dataset.clean !== undefined) element.disabled = false;
      }
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-clean] select")) event.target.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]") !== null;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.matches("[data-submit-on-enter]")) {
      event.preventDefault();
      event.target.form.requestSubmit();
    } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.querySelector("[data-shortcut='/']");
      if (field !== null) { event.preventDefault(); field.focus(); }
    }
  });

  // What was done is said once: the address that is sent to a colleague does not repeat it. ---------------------
  const here = new URL(location.href);
  if (here.searchParams.has("note")) {
    here.searchParams.delete("note");
    here.searchParams.delete("count");
    history.replaceState(null, "", here);
  }

  // Light and dark ----------------------------------------------------------------------------------------------
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("laneway.theme", root.dataset.theme); } catch { /* kept for this page alone */ }
  });
})();
