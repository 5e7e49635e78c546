"use strict";
(() => {
  // Chosen: so many of a config's versions, models ... stand there before the rest is asked for.
  const SHOWN = 3;
  const data = JSON.parse(document.getElementById("data").textContent);
  const nodes = new Map(data.nodes.map((n) => [n.id, n]));
  const order = new Map(data.nodes.map((n, i) => [n.id, i]));
  const byId = (id) => document.getElementById(id);
  const board = byId("board"), detail = byId("detail"), lines = byId("lines");
  const columns = [...board.querySelectorAll(".column")];
  const opened = new Set();
  let chosen = null, placed = new Map(), drawn = [];

  // Configs stand in one order in every column, the one with the newest run first, so that lines cross less.
  const groupOrder = new Map([...data.nodes].sort((a, b) => a.at < b.at ? 1 : -1).map((n) => n.group).filter((g, i, all) => all.indexOf(g) === i).map((g, i) => [g, i]));
  const next = new Map(), before = new Map();
  const into = (map, key, value) => { if (!map.has(key)) map.set(key, []); map.get(key).push(value); };
  for (const [a, b] of data.edges) { into(next, a, b); into(before, b, a); }

  function reached(ids, ways) {
    const found = new Set(), left = [...ids];
    while (left.length) {
      const one = left.pop();
      if (!found.has(one)) { found.add(one); left.push(...(ways.get(one) || [])); }
    }
    return found;
  }
  const both = (ids) => new Set([...reached(ids, before), ...reached(ids, next)]);

  // What was made of a node, going through those that don't show.
  function nearest(id, ways, shows) {
    const found = new Set(), seen = new Set(), left = [...(ways.get(id) || [])];
    while (left.length) {
      const one = left.pop();
      if (seen.has(one)) continue;
      seen.add(one);
      if (shows(one)) found.add(one); else left.push(...(ways.get(one) || []));
    }
    return [...found];
  }

  const text = (n) => [n.name, n.group, n.badge, n.kind, ...n.facts.flat(), ...n.runs].join("\n").toLowerCase();
  const texts = new Map(data.nodes.map((n) => [n.id, text(n)]));
  const ended = reached(data.nodes.filter((n) => n.kind === "registered").map((n) => n.id), before);

  function wanted() {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean), group = byId("group").value;
    const stages = byId("stages").checked, only = byId("ended").checked;
    let kept = new Set(nodes.keys());
    if (chosen) kept = both([chosen]);
    if (group) {
      const own = both(data.nodes.filter((n) => n.group === group).map((n) => n.id));
      kept = new Set([...kept].filter((id) => own.has(id) && (!nodes.get(id).group || nodes.get(id).group === group || chosen)));
    }
    if (only) kept = new Set([...kept].filter((id) => ended.has(id)));
    const hits = words.length ? new Set([...kept].filter((id) => words.every((w) => texts.get(id).includes(w)))) : null;
    if (hits) kept = hits;
    return new Set([...kept].filter((id) => stages || !nodes.get(id).minor || id === chosen || (hits && hits.has(id))));
  }

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const time = (at) => at.slice(0, 16).replace("T", " ");
  const short = (n) => { const d = n.facts.find(([k]) => k === "digest"); return d ? d[1].slice(0, 8) : ""; };
  const one = (n) => `${n.name} ${short(n)}`.trim();

  function button(n, shown) {
    const made = make("button", { type: "button", class: n.minor ? "node minor" : "node", "aria-pressed": String(n.id === chosen) });
    made.dataset.id = n.id;
    made.append(make("b", {}, n.name));
    const rows = n.rows === null ? "" : `${n.rows.toLocaleString("en")} rows`;
    const under = [rows, short(n), n.kind === "source" ? "" : n.at.slice(0, 10)].filter(Boolean);
    const small = make("small", {}, ...under.map((said) => make("span", {}, said)));
    if (n.badge) small.prepend(make("span", { class: `badge ${/^[a-z]+$/.test(n.badge) ? n.badge : ""}` }, n.badge));
    if (small.childNodes.length) made.append(small);
    const from = nearest(n.id, before, (id) => shown.has(id)).map((id) => one(nodes.get(id)));
    if (from.length) made.append(make("span", { class: "from" }, `from ${from.slice(0, 5).join(", ")}${from.length > 5 ? " …" : ""}`));
    return made;
  }

  function show() {
    const shown = wanted(), narrow = chosen || byId("find").value.trim();
    placed = new Map();
    let total = 0;
    for (const column of columns) {
      const kind = column.dataset.kind, items = column.querySelector(".items");
      const own = [...shown].map((id) => nodes.get(id)).filter((n) => n.kind === kind);
      const newest = kind === "source" ? (a, b) => a.name < b.name ? -1 : 1 : (a, b) => a.at < b.at ? 1 : a.at > b.at ? -1 : order.get(a.id) - order.get(b.id);
      total += own.length;
      column.querySelector("h2 span").textContent = own.length;
      column.hidden = !own.length;
      const groups = new Map();
      for (const n of own.sort((a, b) => groupOrder.get(a.group) - groupOrder.get(b.group) || newest(a, b))) into(groups, n.group, n);
      const parts = [];
      for (const [group, members] of groups) {
        if (group && groups.size > 1) parts.push(make("h3", {}, group));
        const key = `${kind} ${group}`;
        const fold = data.whole && !narrow && kind !== "source" && !opened.has(key) && members.length > SHOWN + 1;
        for (const n of fold ? members.slice(0, SHOWN) : members) { const b = button(n, shown); placed.set(n.id, b); parts.push(b); }
        if (fold) {
          const more = make("button", { type: "button", class: "node more", "aria-expanded": "false" }, `${members.length - SHOWN} older`);
          more.dataset.open = key;
          for (const n of members.slice(SHOWN)) placed.set(n.id, more);
          parts.push(more);
        }
      }
      items.replaceChildren(...parts);
    }
    byId("count").textContent = `${total} of ${nodes.size} shown`;
    const ways = new Set();
    for (const id of shown) for (const after of nearest(id, next, (other) => shown.has(other))) ways.add(`${order.get(id)} ${order.get(after)}`);
    drawn = [...ways].map((way) => way.split(" ").map((i) => data.nodes[Number(i)].id));
    tell(shown);
    draw();
  }

  function draw() {
    const frame = board.getBoundingClientRect(), seen = new Set(), paths = [];
    const focus = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.id : null;
    for (const [a, b] of drawn) {
      const from = placed.get(a), to = placed.get(b);
      if (!from || !to || from === to) continue;
      const f = from.getBoundingClientRect(), t = to.getBoundingClientRect();
      const x = f.right - frame.left, y = f.top + f.height / 2 - frame.top, v = t.top + t.height / 2 - frame.top;
      const same = Math.abs(f.left - t.left) < 4, u = (same ? t.right : t.left) - frame.left;
      const bend = same ? 16 + Math.min(26, Math.abs(v - y) / 12) : Math.max(18, (u - x) / 2);
      const d = same ? `M${x} ${y}C${x + bend} ${y} ${u + bend} ${v} ${u} ${v}` : `M${x} ${y}C${x + bend} ${y} ${u - bend} ${v} ${u} ${v}`;
      const hot = a === focus || b === focus || a === chosen || b === chosen;
      if (seen.has(d) && !hot) continue;
      seen.add(d);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", d);
      if (hot) path.setAttribute("class", "hot");
      paths.push(path);
    }
    lines.replaceChildren(...paths.sort((p, q) => p.getAttribute("class") === "hot" ? 1 : q.getAttribute("class") === "hot" ? -1 : 0));
  }

  function way(title, ids) {
    if (!ids.length) return [];
    const list = make("ul", { class: "way" });
    for (const id of ids) {
      const b = make("button", { type: "button" }, one(nodes.get(id)));
      b.dataset.id = id;
      list.append(make("li", {}, b));
    }
    return [make("dt", {}, title), make("dd", {}, list)];
  }

  const hint = [...detail.childNodes];
  function tell(shown) {
    byId("view").classList.toggle("none", !chosen);
    if (!chosen) { detail.replaceChildren(...hint); return; }
    const n = nodes.get(chosen), shows = (id) => shown.has(id);
    const said = make("dl", {});
    if (n.at) said.append(make("dt", {}, "first there"), make("dd", {}, `${time(n.at)} UTC`));
    for (const [what, value] of n.facts) said.append(make("dt", {}, what), make("dd", {}, value));
    said.append(...way("made of", nearest(chosen, before, shows)), ...way("made of it", nearest(chosen, next, shows)));
    const kind = { source: "source", version: "dataset version", model: "model", registered: "registered version", export: "export" }[n.kind];
    detail.replaceChildren(make("p", { class: "soft small" }, n.badge ? `${kind} · ${n.badge}` : kind), make("h2", {}, n.name), said);
  }

  function choose(id, keep) {
    chosen = id;
    history.replaceState(null, "", id ? `#${encodeURIComponent(id)}` : location.pathname + location.search);
    show();
    const there = id && placed.get(id);
    if (there) { there.focus({ preventScroll: !keep }); if (window.innerWidth <= 900) detail.scrollIntoView({ block: "nearest" }); }
  }

  // Where a line leads, into another column if one does.
  function across(id, ends) {
    const other = ends.find((end) => nodes.get(end).kind !== nodes.get(id).kind);
    return placed.get(other || ends[0]);
  }

  function walk(event, from) {
    const column = from.closest(".column"), own = [...column.querySelectorAll(".node")], at = own.indexOf(from);
    const id = from.dataset.id;
    let to = null;
    if (event.key === "ArrowDown") to = own[at + 1];
    else if (event.key === "ArrowUp") to = own[at - 1];
    else if (id && event.key === "ArrowRight") to = across(id, drawn.filter(([a]) => a === id).map(([, b]) => b));
    else if (id && event.key === "ArrowLeft") to = across(id, drawn.filter(([, b]) => b === id).map(([a]) => a));
    else return;
    event.preventDefault();
    if (to) to.focus();
  }

  document.addEventListener("click", (event) => {
    const b = event.target.closest("button");
    if (!b) return;
    if (b.dataset.open) {
      opened.add(b.dataset.open);
      const first = b.previousElementSibling;
      show();
      if (first && placed.get(first.dataset.id)) placed.get(first.dataset.id).focus();
    } else if (b.dataset.id) choose(b.dataset.id === chosen && b.classList.contains("node") ? null : b.dataset.id, true);
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); byId("find").focus(); }
    else if (event.key === "Escape") all();
    else if (event.target.classList && event.target.classList.contains("node")) walk(event, event.target);
  });
  function all() {
    const last = chosen || (document.activeElement.dataset || {}).id;
    byId("find").value = ""; byId("group").value = ""; byId("ended").checked = false;
    choose(null);
    if (last && placed.get(last)) placed.get(last).focus();
  }
  board.addEventListener("focusin", draw);
  for (const id of ["find", "group", "stages", "ended"]) byId(id).addEventListener("input", show);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", all);
  byId("print").addEventListener("click", () => window.print());
  window.addEventListener("resize", draw);

  document.querySelector(".lineage").classList.add("scripted");
  byId("tools").hidden = byId("view").hidden = false;
  byId("all").open = false;
  const asked = decodeURIComponent(location.hash.slice(1));
  if (nodes.has(asked)) chosen = asked;
  show();
  // The fonts of the page decide where lines end.
  if (document.fonts) document.fonts.ready.then(draw);
})();
