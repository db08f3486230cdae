
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { points, axes, limits, start, fronts } = data;
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const draw = (name, attributes = {}, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const formats = {};
  const shown = (name, value) =>
    (formats[name] ??= new Intl.NumberFormat("en", { maximumFractionDigits: axes[name].digits })).format(value);
  /* What a run's details hold stands in a noscript, which browsers with scripts do not parse: many runs open quickly. */
  const fill = (details) => {
    const kept = details.querySelector(":scope > noscript");
    if (kept) kept.replaceWith(...new DOMParser().parseFromString(kept.textContent, "text/html").body.childNodes);
  };
  document.addEventListener("toggle", (event) => { if (event.target.open) fill(event.target); }, true);
  const open = (id) => {
    const target = byId(id);
    if (!target) return;
    if (target.tagName === "DETAILS") { fill(target); target.open = true; }
    target.scrollIntoView({ block: "start" });
    const focus = target.querySelector("summary");
    if (focus) focus.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#run-"]');
    if (!link) return;
    event.preventDefault();
    const id = (link.getAttribute("href") || "").slice(1);
    try { history.replaceState(null, "", `#${id}`); } catch { /* a page from a file may not */ }
    open(id);
  });
  if (location.hash) open(location.hash.slice(1));
  window.addEventListener("beforeprint", () => {
    if (points.length <= 12) document.querySelectorAll("details").forEach((one) => { fill(one); one.open = true; });
  });

  /* Filters: what is chosen and searched holds for the table and for the plot. */
  const rows = [...document.querySelectorAll("#table tbody tr")];
  let words = null; // of each row, once something is searched
  const selects = [...document.querySelectorAll("[data-filter]")];
  let visible = points.map(() => true);
  const filters = byId("filters");
  if (filters) {
    filters.hidden = false;
    for (const select of selects) {
      const name = select.dataset.filter;
      const values = [...new Set(points.map((point) => point.keys[name]))].sort();
      for (const value of values) select.append(make("option", { value }, value));
      if (values.length < 2) select.closest("label").hidden = true;
      select.addEventListener("change", apply);
    }
    byId("search").addEventListener("input", apply);
    filters.addEventListener("submit", (event) => event.preventDefault());
  }
  function apply() {
    const asked = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (asked.length) words ??= rowWords();
    visible = points.map((point, place) =>
      selects.every((select) => !select.value || point.keys[select.dataset.filter] === select.value) &&
      asked.every((word) => words[place].includes(word)));
    for (const row of rows) row.hidden = !visible[Number(row.dataset.place)];
    points.forEach((point, place) => { const one = byId(point.id); if (one && one.matches("details.run")) one.hidden = !visible[place]; });
    const count = visible.filter(Boolean).length;
    byId("shown").textContent = count === points.length ? `${count} shown.` : `${count} of ${points.length} shown.`;
    plot();
  }

  function rowWords() {
    const found = [];
    for (const row of rows) found[Number(row.dataset.place)] = row.textContent.toLowerCase();
    return found;
  }

  /* Sorting: a button in each head; what is not there comes last either way. The style sheet has the arrows' room
     reserved, as the whole table would be laid out anew otherwise. */
  const heads = [...document.querySelectorAll("#table thead th")];
  for (const head of heads) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.classList.add("sorts");
    button.addEventListener("click", () => sort(head));
  }
  function sort(head) {
    const { figure, key } = head.dataset;
    const more = figure && axes[figure].more;
    const now = head.getAttribute("aria-sort");
    const rising = now ? now === "descending" : !more;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => {
      const point = points[Number(row.dataset.place)];
      return figure ? point.values[figure] : key === "label" ? point.label : point.keys[key];
    };
    const sign = rising ? 1 : -1;
    rows.sort((one, two) => {
      const [a, b] = [value(one), value(two)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * (figure ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    });
    document.querySelector("#table tbody").append(...rows);
  }

  /* The plot. */
  const svg = document.querySelector("#plot svg");
  const tip = byId("tip");
  const COLOURS = 8;
  if (svg) {
    byId("axes").hidden = false;
    byId("keys").hidden = false;
    for (const name of ["x", "y", "colour"]) {
      const select = byId(name);
      if (!select) continue;
      select.value = start[name];
      if (select.selectedIndex < 0) select.selectedIndex = 0;
      select.addEventListener("change", plot);
    }
    byId("axes").addEventListener("submit", (event) => event.preventDefault());
    const stage = svg.parentElement; // an svg that listens to focus would be a stop of the Tab key itself
    stage.addEventListener("keydown", move);
    stage.addEventListener("pointerover", (event) => show(event.target.closest("a")));
    stage.addEventListener("pointerleave", () => show(null));
    stage.addEventListener("focusin", (event) => show(event.target.closest("a")));
    stage.addEventListener("focusout", () => show(null));
    let width = Math.round(svg.parentElement.clientWidth);
    plot();
    new ResizeObserver((changes) => {
      const now = Math.round(changes[0].contentRect.width);
      if (now && now !== width) { width = now; plot(); }
    }).observe(svg.parentElement);
  }

  function ticks(low, high, most) {
    const pad = high > low ? 0 : Math.abs(low) / 50 || 1; // one value alone: an axis close around it
    [low, high] = [low - pad, high + pad];
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999999);
    const found = [];
    for (let place = Math.floor(low / step + 1e-9); place <= Math.ceil(high / step - 1e-9); place++) found.push(Number((place * step).toPrecision(12)));
    return found.length > 1 ? found : [found[0], found[0] + step];
  }

  function shape(kind, x, y, r) {
    const s = 0.88 * r, d = 1.25 * r;
    return [
      `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
      `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}Z`,
      `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}Z`,
      `M${x} ${y - d}l${d} ${d}l${-d} ${d}l${-d} ${-d}Z`,
    ][kind % 4];
  }

  function front(list, more) {
    const sign = more ? 1 : -1;
    const best = [];
    for (const one of [...list].sort((a, b) => a.x - b.x || sign * (b.y - a.y)))
      if (!best.length || sign * one.y > sign * best[best.length - 1].y) best.push(one);
    return best;
  }

  function plot() {
    if (!svg) return;
    const [xName, yName] = [byId("x").value, byId("y").value];
    const colour = byId("colour") ? byId("colour").value : "recipe";
    const width = Math.max(280, Math.round(svg.parentElement.clientWidth) || 560);
    const height = Math.round(Math.min(460, Math.max(280, width * 0.6)));
    const [left, right, top, bottom] = [52, width - 14, 14, height - 44];
    const kinds = [...new Set(points.map((point) => point.keys[colour]))].sort();
    const list = points.flatMap((point, place) =>
      visible[place] && xName in point.values && yName in point.values
        ? [{ point, x: point.values[xName], y: point.values[yName], kind: kinds.indexOf(point.keys[colour]),
             hollow: !point.good || point.from[xName] === "predicted" || point.from[yName] === "predicted" }] : []);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const focused = svg.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    svg.replaceChildren();
    show(null);
    legend(kinds, list);
    if (!list.length) {
      svg.append(draw("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "None of those shown has both figures."));
      byId("more").textContent = "";
      return;
    }
    const [xs, ys] = [list.map((one) => one.x), list.map((one) => one.y)];
    xs.push(Math.min(0, ...xs));
    const near = (name, values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const reach = 2 * Math.max(high - low, 0.1 * Math.abs(high));
      return name in limits && low - reach <= limits[name] && limits[name] <= high + reach;
    };
    const [xLimit, yLimit] = [near(xName, xs), near(yName, ys)]; // one far from all marks would press them together
    if (xLimit) xs.push(limits[xName]);
    if (yLimit) ys.push(limits[yName]);
    const xTicks = ticks(Math.min(...xs), Math.max(...xs), width < 460 ? 4 : 7);
    const yTicks = ticks(Math.min(...ys), Math.max(...ys), 5);
    const across = (value) => left + (value - xTicks[0]) / (xTicks[xTicks.length - 1] - xTicks[0]) * (right - left);
    const down = (value) => bottom - (value - yTicks[0]) / (yTicks[yTicks.length - 1] - yTicks[0]) * (bottom - top);
    for (const value of xTicks) svg.append(draw("text", { x: across(value), y: bottom + 17, "text-anchor": "middle" }, String(value)));
    for (const value of yTicks) {
      svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: down(value), y2: down(value) }));
      svg.append(draw("text", { x: left - 7, y: down(value) + 4, "text-anchor": "end" }, String(value)));
    }
    const metrics = new Set(list.map((one) => one.point.metric));
    const yLabel = yName === "metric" && metrics.size === 1 ? [...metrics][0] : axes[yName].label;
    const centre = (top + bottom) / 2;
    svg.append(draw("text", { class: "axis", x: (left + right) / 2, y: height - 7, "text-anchor": "middle" }, `${axes[xName].label}, ${axes[xName].unit}`));
    svg.append(draw("text", { class: "axis", x: 13, y: centre, "text-anchor": "middle", transform: `rotate(-90 13 ${centre})` }, `${yLabel}, ${axes[yName].unit}`));
    if (xLimit) {
      const at = across(limits[xName]);
      svg.append(draw("line", { class: "limit", x1: at, x2: at, y1: top, y2: bottom }));
      svg.append(draw("text", { class: "limit-name", x: at + (at > width / 2 ? -5 : 5), y: top + 9, "text-anchor": at > width / 2 ? "end" : "start" }, `at most ${limits[xName]}`));
    }
    if (yLimit) {
      const at = down(limits[yName]);
      svg.append(draw("line", { class: "limit", x1: left, x2: right, y1: at, y2: at }));
      svg.append(draw("text", { class: "limit-name", x: right, y: at - 5, "text-anchor": "end" }, `at ${axes[yName].more ? "least" : "most"} ${limits[yName]}`));
    }
    const solid = list.filter((one) => !one.hollow);
    for (const group of fronts ? new Set(solid.map((one) => one.point.keys[fronts])) : [null]) {
      const best = front(solid.filter((one) => group === null || one.point.keys[fronts] === group), axes[yName].more);
      if (best.length < 2) continue;
      let path = `M${across(best[0].x)} ${down(best[0].y)}`;
      for (const one of best.slice(1)) path += `H${across(one.x)}V${down(one.y)}`;
      svg.append(draw("path", { class: "front", d: path }));
    }
    const order = [...list].sort((a, b) => a.x - b.x || a.y - b.y);
    order.forEach((one, place) => {
      const [x, y] = [across(one.x), down(one.y)];
      const what = sentences(one, xName, yName);
      const link = draw("a", { href: `#${one.point.id}`, tabindex: place ? "-1" : "0", "aria-label": [one.point.label, ...what].join(", ") });
      link.append(draw("circle", { class: "hit", cx: x, cy: y, r: 12 }));
      link.append(draw("path", { class: `dot c${one.kind % COLOURS}${one.hollow ? " hollow" : ""}`, d: shape(one.kind, x, y, width < 460 && list.length > 60 ? 3.5 : 5) }));
      link.dataset.place = place;
      link.spot = { x, y, label: one.point.label, what };
      svg.append(link);
    });
    const again = focused && [...svg.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
    if (again) {
      svg.querySelector('a[tabindex="0"]').setAttribute("tabindex", "-1");
      again.setAttribute("tabindex", "0");
      again.focus({ preventScroll: true });
    }
    const machines = new Set(list.map((one) => one.point.keys.device));
    byId("more").textContent =
      (xName.endsWith("_ms") || xName.endsWith("_mb")) && xName !== "size_mb" && machines.size > 1
        ? ` Figures for ${machines.size} devices are in one plot: choose one above to compare like with like.` : "";
    const boards = new Set(list.map((one) => one.point.keys.data));
    for (const [name, drawn] of [[xName, xLimit], [yName, yLimit]])
      if (name in limits && !drawn) byId("more").textContent += ` The limit of ${limits[name]} ${axes[name].unit} lies far outside of the plot.`;
    if (yName === "metric" && boards.size > 1) byId("more").textContent += " The metrics are of different data: choose one above.";
  }

  function sentences(one, ...names) {
    const { point } = one;
    const found = names.map((name) => {
      const label = name === "metric" ? point.metric : axes[name].label;
      return `${label} ${shown(name, point.values[name])} ${axes[name].unit}${point.from[name] ? ` (${point.from[name]})` : ""}`;
    });
    if (rows.length) found.push(`${point.keys.device}, ${point.keys.data}`, point.keys.state);
    if (point.noisy) found.push("measured on a machine that was too noisy");
    if (!point.fits) found.push("does not run in the memory that the device has for it");
    return found;
  }

  function legend(kinds, list) {
    const there = new Set(list.map((one) => one.kind));
    const items = kinds.map((kind, place) => [kind, place]).filter(([, place]) => there.has(place));
    byId("legend").replaceChildren(...(items.length > 1 && items.length <= 16 ? items.map(([kind, place]) => {
      const icon = draw("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
      icon.append(draw("path", { class: `dot c${place % COLOURS}`, d: shape(place, 7, 7, 5) }));
      return make("li", {}, icon, kind);
    }) : []));
  }

  function show(link) {
    svg.querySelectorAll("a.on").forEach((one) => one.classList.remove("on"));
    tip.hidden = !link || !link.spot;
    if (tip.hidden) return;
    link.classList.add("on");
    const { x, y, label, what } = link.spot;
    tip.replaceChildren(make("b", {}, label), ...what.map((text) => make("span", {}, text)));
    const box = tip.parentElement;
    const scale = box.clientWidth / svg.viewBox.baseVal.width;
    const [px, py] = [x * scale, y * scale];
    tip.style.left = `${Math.max(0, Math.min(px + 14 + tip.offsetWidth > box.clientWidth ? px - tip.offsetWidth - 14 : px + 14, box.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${py + 14 + tip.offsetHeight > box.clientHeight ? Math.max(0, py - tip.offsetHeight - 14) : py + 14}px`;
  }

  function move(event) {
    const links = [...svg.querySelectorAll("a")];
    const now = links.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, Home: 0, End: links.length - 1 }[event.key];
    if (event.key === "Escape") show(null);
    if (next === undefined || !links[next]) return;
    event.preventDefault();
    for (const link of links) link.setAttribute("tabindex", "-1");
    links[next].setAttribute("tabindex", "0");
    links[next].focus();
  }
})();
