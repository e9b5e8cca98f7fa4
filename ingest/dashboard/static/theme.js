// Before anything is drawn: light or dark as the operator chose, else as the system says.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("laneway.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing for us still shows the pages.
  }
})();
