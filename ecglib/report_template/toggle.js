(() => {
  const button = document.getElementById("toggle-code");
  const cells = document.querySelectorAll("details.code");
  button.hidden = cells.length === 0;
  button.addEventListener("click", () => {
    const show = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(show));
    cells.forEach((cell) => { cell.open = show; });
  });
  // What scrolls is a stop of the Tab key, so that the arrow keys can scroll it; what does not is none.
  const stops = () => document.querySelectorAll(".scroll, .picture, pre").forEach((part) => {
    if (part.scrollWidth > part.clientWidth) part.setAttribute("tabindex", "0");
    else part.removeAttribute("tabindex");
  });
  addEventListener("load", stops);
  addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true);
})();
