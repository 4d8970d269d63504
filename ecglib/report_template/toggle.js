(() => {
  const button = document.getElementById("toggle-code");
  const cells = document.querySelectorAll("details.code");
  button.hidden = cells.length === 0;
  button.addEventListener("click", () => {
    const show = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(show));
    cells.forEach((cell) => { cell.open = show; });
  });
})();
