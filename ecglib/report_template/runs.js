(() => {
  const { runs, usual } = JSON.parse(document.getElementById("runs").textContent);
  const find = (selector) => document.querySelector(selector);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const form = find(".filters"), table = find("table.runs"), body = table.tBodies[0];
  const tray = find(".tray"), comparison = find(".comparison");
  const rows = [...body.rows].map((row, index) => ({ row, run: runs[index], text: row.textContent.toLowerCase() }));

  // Filters: what is chosen stands behind the # of the address, so that a view can be sent to someone.
  const fields = {};
  const field = (name, title, control) => {
    fields[name] = control;
    Object.assign(control, { name, id: `filter-${name}` });
    form.append(make("div", { className: name }, make("label", { htmlFor: control.id }, title), control));
  };
  const choice = (name, title, values) => {
    const options = [...new Set(values)].sort().map((value) => make("option", { value }, value));
    field(name, title, make("select", {}, make("option", { value: "" }, "any"), ...options));
  };
  field("text", "Text", make("input", { type: "search", placeholder: "name, parameter, reason" }));
  choice("notebook", "Notebook", runs.map((run) => run.notebook));
  choice("data", "Data", runs.flatMap((run) => run.data));
  choice("preset", "Preset", runs.map((run) => run.preset));
  choice("status", "Status", runs.map((run) => run.status));
  choice("state", "Up to date", runs.map((run) => run.state));
  field("from", "Started from", make("input", { type: "date" }));
  field("to", "Started until", make("input", { type: "date" }));
  const clear = make("button", { type: "button" }, "Show all");
  form.append(clear);

  const shown = ({ run, text }) => {
    const value = Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value]));
    const day = run.started.slice(0, 10);
    return value.text.toLowerCase().split(/\s+/).every((word) => text.includes(word))
      && ["notebook", "preset", "status", "state"].every((name) => !value[name] || run[name] === value[name])
      && (!value.data || run.data.includes(value.data))
      && (!value.from || day >= value.from) && (!value.to || day <= value.to);
  };
  const filter = () => {
    let count = 0;
    for (const each of rows) {
      const visible = shown(each);
      each.row.hidden = !visible;
      count += visible;
    }
    find(".count").textContent = `${count} of ${rows.length} runs shown`;
  };
  const remember = () => {
    const chosen = Object.entries(fields).filter(([, control]) => control.value).map(([name, control]) => [name, control.value]);
    history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
  };
  const recall = () => {
    const chosen = new URLSearchParams(location.hash.slice(1));
    for (const [name, control] of Object.entries(fields)) control.value = chosen.get(name) ?? "";
    filter();
  };
  form.addEventListener("input", () => { filter(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  clear.addEventListener("click", () => { form.reset(); filter(); remember(); });
  addEventListener("hashchange", recall);

  // Sorting: a header is a button; what has no value stays below, whichever way the others go.
  const key = { data: (run) => run.data.join(), own: (run) => Object.keys(run.own).length };
  const headers = [...table.tHead.rows[0].cells];
  const sort = (header) => {
    const name = header.dataset.key, get = key[name] ?? ((run) => run[name]);
    const before = header.getAttribute("aria-sort");
    const ascending = before ? before !== "ascending" : !["value", "started", "own"].includes(name);
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = (a, b) => {
      const [x, y] = [get(a.run), get(b.run)];
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
      return ascending ? sign : -sign;
    };
    body.append(...[...rows].sort(order).map((each) => each.row));
  };
  for (const header of headers) {
    const button = make("button", { type: "button" }, header.textContent);
    button.addEventListener("click", () => sort(header));
    header.replaceChildren(button);
  }

  // Comparison of ticked runs, side by side: what came out, and the parameters in which they differ.
  const ticked = () => rows.filter((each) => each.tick.checked);
  const update = () => {
    const count = ticked().length;
    rows.forEach((each) => each.row.classList.toggle("ticked", each.tick.checked));
    tray.hidden = count === 0;
    tray.querySelector("span").textContent = `${count} run${count === 1 ? "" : "s"} ticked${count === 1 ? "; tick another to compare" : ""}`;
    tray.querySelector(".compare").disabled = count < 2;
    if (count < 2) comparison.hidden = true;
    else if (!comparison.hidden) compare();
  };
  for (const each of rows) {
    each.tick = make("input", { type: "checkbox", ariaLabel: `Compare ${each.run.name}` });
    each.tick.addEventListener("change", update);
    each.row.prepend(make("td", { className: "tick" }, make("label", {}, each.tick)));
  }
  table.tHead.rows[0].prepend(make("td", { className: "tick" }));

  const parameter = (run, name) => (name in run.own ? run.own[name] : usual[run.notebook]?.[name]) ?? "—";
  const compare = () => {
    const chosen = ticked().map((each) => each.run);
    const differ = (get) => new Set(chosen.map(get)).size > 1;
    const line = (title, get, wrap = (text) => text) => make(
      "tr", {}, make("th", { scope: "row" }, title), ...chosen.map((run) => make("td", {}, wrap(get(run) ?? "—"))));
    const strong = (text) => make("b", {}, text), code = (text) => make("code", {}, text);
    const top = chosen.map((run) => make(
      "th", { scope: "col" }, run.link ? make("a", { href: run.link }, run.name) : run.name));
    const facts = [["Status", (run) => run.status + (run.state === "stale" ? ", stale" : "")], ["Preset", (run) => run.preset],
      ["Data", (run) => run.data.join(" + ") || "—"], ["Started, UTC", (run) => run.started], ["Took", (run) => run.took]];
    const names = [...new Set(chosen.flatMap((run) => Object.keys({ ...usual[run.notebook], ...run.own })))];
    const known = (name) => chosen.every((run) => parameter(run, name) !== "—");
    const other = names.filter((name) => differ((run) => parameter(run, name)));
    const [shared, rest] = [other.filter(known), other.filter((name) => !known(name))];
    let said = `${shared.length || "no"} parameter${shared.length === 1 ? "" : "s"} that all have differ${shared.length > 1 ? "" : "s"}`;
    if (rest.length) said += `; ${rest.length} that only some have stand${rest.length === 1 ? "s" : ""} below`;
    comparison.querySelector(".scroll").replaceChildren(make(
      "table", {},
      make("caption", {}, `${chosen.length} runs, ${said}.`),
      make("thead", {}, make("tr", {}, make("td"), ...top)),
      make("tbody", {},
        line("Result", (run) => run.headline, strong), line("Model", (run) => run.model),
        ...facts.filter(([, get]) => differ(get)).map((fact) => line(...fact)),
        ...[...shared, ...rest].map((name) => line(code(name), (run) => parameter(run, name), code)))));
    comparison.hidden = false;
  };
  tray.querySelector(".compare").addEventListener("click", () => { compare(); find("#comparison").focus(); });
  tray.querySelector(".untick").addEventListener("click", () => {
    rows.forEach((each) => { each.tick.checked = false; });
    update();
  });

  form.hidden = false;
  recall();
})();
