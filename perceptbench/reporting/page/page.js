// Everything on the page that answers a hand: sorting, filtering, two metrics side by side.
// Text is only ever set as text, never as markup. No request is made.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "line", "circle", "rect", "text", "path", "title"].includes(name);
    const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const short = (v) => (v === null ? "–" : v.toFixed(3));
  const signed = (v) => {
    const size = Math.abs(v).toFixed(3);
    return (+size === 0 ? "" : v > 0 ? "+" : "−") + size;
  };
  const loose = (v) => (v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(3)));
  const name = (m) => data.metrics[m].name;
  const chosen = { a: data.start[0], b: data.start[1] };

  // ---------------------------------------------------------------- the leaderboard
  const body = $("board").tBodies[0];
  const heads = all("#board thead button");

  function sortKey(row, key) {
    if (key[0] === "f" && /^f\d+$/.test(key)) {
      const text = all("td.fig", row)[+key.slice(1)].dataset.v;
      return text === "" ? null : +text;
    }
    const text = row.dataset[key];
    return key === "name" ? text : text === "" ? null : +text;
  }

  function sortBy(button) {
    const head = button.parentElement;
    const first = button.dataset.first === "up" ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const b of heads) b.parentElement.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [sortKey(row, button.dataset.key), +row.dataset.m, row]);
    rows.sort(([x, i], [y, j]) => {
      if (x === null || y === null) return (x === null) - (y === null) || i - j; // undefined ones last
      return (x < y ? -sign : x > y ? sign : 0) || i - j;
    });
    body.append(...rows.map(([, , row]) => row));
  }
  for (const button of heads) button.addEventListener("click", () => sortBy(button));

  function filter() {
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const keep = words.every((word) => row.dataset.words.includes(word));
      row.hidden = !keep;
      shown += keep;
    }
    $("shown").textContent = `${shown} of ${body.rows.length} metrics`;
    const hidden = new Set(all("input.dataset").filter((box) => !box.checked).map((box) => box.value));
    for (const cell of all("#board [data-d]")) cell.hidden = hidden.has(cell.dataset.d);
  }
  $("filter").addEventListener("input", filter);
  for (const box of all("input.dataset")) box.addEventListener("change", filter);
  for (const form of all("form")) form.addEventListener("submit", (event) => event.preventDefault());

  // ---------------------------------------------------------------- A and B
  function choose(side, metric) {
    const other = side === "a" ? "b" : "a";
    if (metric === chosen[other]) chosen[other] = chosen[side];
    chosen[side] = metric;
    update();
  }
  $("pick-a").addEventListener("change", (event) => choose("a", +event.target.value));
  $("pick-b").addEventListener("change", (event) => choose("b", +event.target.value));
  $("swap").addEventListener("click", () => choose("a", chosen.b));
  body.addEventListener("click", (event) => {
    const side = event.target.dataset.pick;
    if (side) choose(side, +event.target.closest("tr").dataset.m);
  });

  function update() {
    $("pick-a").value = chosen.a;
    $("pick-b").value = chosen.b;
    for (const marked of all("[data-m]")) {
      marked.classList.toggle("is-a", +marked.dataset.m === chosen.a);
      marked.classList.toggle("is-b", +marked.dataset.m === chosen.b && chosen.a !== chosen.b);
    }
    differences();
    scatters();
    costs();
  }

  // ---------------------------------------------------------------- paired differences
  // paired.of lists the metrics compared; its figures stand in the order of the pairs i < j.
  function paired(figure, a, b) {
    const found = figure.paired;
    const i = found ? found.of.indexOf(a) : -1;
    const j = found ? found.of.indexOf(b) : -1;
    if (i < 0 || j < 0 || i === j) return null;
    const [low, high, k] = [Math.min(i, j), Math.max(i, j), found.of.length];
    const at = low * k - (low * (low + 1)) / 2 + high - low - 1;
    if (found.low[at] === null) return null;
    const flip = (i > j) !== figure.smaller; // positive: A agrees better with people
    const turn = (x, y) => (flip ? [-y, -x] : [x, y]);
    const [from, to] = turn(found.low[at], found.high[at]);
    return { value: flip ? -found.value[at] : found.value[at], low: from, high: to, p: found.p[at] };
  }

  function differences() {
    const { a, b } = chosen;
    const rows = data.figures.map((figure) => [figure, paired(figure, a, b)]);
    const known = rows.filter(([, d]) => d);
    const ahead = known.filter(([, d]) => d.p < 0.05 && d.value > 0).map(([f]) => f.title);
    const behind = known.filter(([, d]) => d.p < 0.05 && d.value < 0).map(([f]) => f.title);
    const open = known.length - ahead.length - behind.length;
    const say = (who, list) => `${who} agrees better with people on ${list.join(", ")}`;
    const parts = [];
    if (ahead.length) parts.push(say(name(a), ahead));
    if (behind.length) parts.push(say(name(b), behind));
    if (open) parts.push(parts.length ? `on ${open} more of ${known.length} figures they cannot be told apart` : `${name(a)} and ${name(b)} cannot be told apart on any of the ${known.length} figures both have`);
    $("verdict").textContent = a === b ? "A and B are the same metric." : parts.length ? `${parts.join("; ")}.` : "No paired difference of these two is stored in this run.";
    if (!known.length) return $("differences").replaceChildren();

    const reach = 1.05 * Math.max(0.02, ...known.flatMap(([, d]) => [Math.abs(d.low), Math.abs(d.high)]));
    const at = (v) => `${(50 + (50 * v) / reach).toFixed(2)}%`;
    const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((s) => reach / s <= 4) || 1;
    const ticks = [];
    for (let k = -Math.floor(reach / step); k * step <= reach; k++) ticks.push(k * step);
    const table = element("table", { class: "dots wide" });
    table.append(element("caption", {}, `How far ${name(a)} is ahead of ${name(b)}: right of the middle A is better, left of it B`));
    const head = element("tr");
    for (const title of ["figure", "plot", "A − B", "95 % interval", "p (Holm)"]) head.append(element("th", { scope: "col" }, title));
    table.append(element("thead", { class: "hidden" }, head));
    const lines = element("tbody");
    for (const [figure, d] of rows) {
      const row = element("tr", {}, element("th", { scope: "row" }, figure.title));
      const plot = element("td", { class: "plot" });
      for (const tick of ticks) {
        const mark = element("i");
        mark.style.left = at(tick);
        plot.append(mark);
      }
      if (!d) {
        row.append(plot, element("td", { class: "value" }, "–"), element("td", { class: "interval" }, "undefined"), element("td"));
        lines.append(row);
        continue;
      }
      row.className = d.p >= 0.05 ? "" : d.value > 0 ? "is-a" : "is-b";
      const svg = element("svg", { class: "whisker", width: "100%", height: 22, "aria-hidden": "true" });
      svg.append(element("line", { class: "zero", x1: "50%", x2: "50%", y1: 0, y2: "100%" }));
      svg.append(element("line", { class: "range", x1: at(d.low), x2: at(d.high), y1: "50%", y2: "50%" }));
      svg.append(element("circle", { class: "point", cx: at(d.value), cy: "50%", r: 4 }));
      plot.append(svg);
      row.append(plot, element("td", { class: "value" }, signed(d.value)),
        element("td", { class: "interval" }, `[${signed(d.low)}, ${signed(d.high)}]`),
        element("td", { class: "interval" }, d.p < 0.001 ? "p < 0.001" : `p = ${d.p.toFixed(3)}`));
      lines.append(row);
    }
    const axis = element("td", { class: "plot" });
    for (const tick of ticks) {
      const label = element("span", {}, tick === 0 ? "0" : signed(tick).replace(/0+$/, ""));
      label.style.left = at(tick);
      axis.append(label);
    }
    lines.append(element("tr", { class: "axis", "aria-hidden": "true" }, element("th"), axis, element("td"), element("td"), element("td")));
    table.append(lines);
    $("differences").replaceChildren(table);
  }

  // ---------------------------------------------------------------- plots
  const W = 480, H = 330, LEFT = 46, RIGHT = 14, TOP = 12, BOTTOM = 46;

  function nice(low, high, count = 5) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(+(k * step).toPrecision(12));
    return ticks;
  }

  // An SVG with axes. x and y: {low, high, title, ticks, label}; gives back the scales.
  function frame(title, x, y) {
    const svg = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: 0, "aria-label": title });
    const px = (v) => LEFT + ((v - x.low) / (x.high - x.low || 1)) * (W - LEFT - RIGHT);
    const py = (v) => H - BOTTOM - ((v - y.low) / (y.high - y.low || 1)) * (H - TOP - BOTTOM);
    for (const tick of y.ticks) {
      svg.append(element("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: py(tick), y2: py(tick) }));
      svg.append(element("text", { x: LEFT - 6, y: Math.min(py(tick) + 4, H - BOTTOM), "text-anchor": "end" }, (y.label || loose)(tick)));
    }
    for (const tick of x.ticks) {
      svg.append(element("line", { class: "grid", x1: px(tick), x2: px(tick), y1: TOP, y2: H - BOTTOM }));
      svg.append(element("text", { x: px(tick), y: H - BOTTOM + 19, "text-anchor": "middle" }, (x.label || loose)(tick)));
    }
    svg.append(element("line", { class: "edge", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }));
    svg.append(element("text", { class: "label", x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, x.title));
    return { svg, px, py };
  }

  // Points can be read by pointer and by arrow keys; what they are stands in words below the plot.
  function readable(svg, points, output, hint) {
    const ring = element("circle", { class: "current", r: 6, cx: -99, cy: -99 });
    svg.append(ring);
    let current = -1;
    const order = points.map((_, i) => i).sort((i, j) => points[i].x - points[j].x || points[i].y - points[j].y);
    const place = order.map(() => 0);
    order.forEach((point, at) => (place[point] = at));
    const show = (point) => {
      current = point;
      ring.setAttribute("cx", points[point].x);
      ring.setAttribute("cy", points[point].y);
      output.textContent = points[point].text();
    };
    output.textContent = hint;
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 10, ArrowDown: -10 }[event.key];
      if (!step || !points.length) return;
      event.preventDefault();
      const at = current < 0 ? 0 : Math.min(points.length - 1, Math.max(0, place[current] + step));
      show(order[at]);
    });
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const [x, y] = [((event.clientX - box.left) * W) / box.width, ((event.clientY - box.top) * H) / box.height];
      let best = -1, nearest = 400;
      points.forEach((p, i) => {
        const d = (p.x - x) ** 2 + (p.y - y) ** 2;
        if (d < nearest) [best, nearest] = [i, d];
      });
      if (best >= 0 && best !== current) show(best);
    });
  }

  // ---------------------------------------------------------------- metric against people
  const items = () => data.items[+$("pick-items").value];
  const ranked = () => $("even").checked;

  function describe(set, item) {
    return set.rows[item].map((image, side) => `${set.roles[side]} ${data.images[image].words || data.images[image].key}`).join(", ");
  }

  function peopleSay(set, item) {
    const value = set.people[item];
    if (set.answer === "p_b") return `${Math.round(100 * value)} % of people: b is closer`;
    if (set.answer === "p_same") return `${Math.round(100 * value)} % of people: the same`;
    return `people: ${set.answer} ${loose(value)}`;
  }

  // Value -> its place among the sorted values, from 0 to 1, equal ones in the middle.
  function placer(values) {
    const sorted = values.filter((v) => v !== null).sort((x, y) => x - y);
    const n = Math.max(1, sorted.length - 1);
    const count = (v, equal) => {
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle] < v || (equal && sorted[middle] === v)) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return (v) => Math.min(1, Math.max(0, (count(v, false) + count(v, true) - 1) / 2 / n));
  }

  function scatter(side) {
    const set = items();
    const metric = chosen[side];
    const values = set.signal[metric];
    const box = element("figure", { class: "plotbox" });
    const known = values.map((v, i) => i).filter((i) => values[i] !== null);
    const caption = element("figcaption", {}, element("b", {}, `${side.toUpperCase()}  ${name(metric)}`), element("span", {}, set.told[metric]));
    if (!known.length) {
      box.append(caption, element("p", {}, "No figure: this metric is undefined on these judgements."));
      return box;
    }
    const place = ranked() ? placer(values) : (v) => v;
    const xs = known.map((i) => place(values[i]));
    const ys = known.map((i) => set.people[i]);
    const range = (list, pad) => {
      const [low, high] = [Math.min(...list), Math.max(...list)];
      return [low - pad * (high - low || 1), high + pad * (high - low || 1)];
    };
    const [x0, x1] = range(xs, 0.03);
    const [y0, y1] = set.answer[0] === "p" ? [-0.04, 1.04] : range(ys, 0.04);
    const title = (set.protocol === "2afc" ? "distance to a minus distance to b" : "distance") + (ranked() ? ", as a rank" : "");
    const { svg, px, py } = frame(
      `${name(metric)} against people on ${set.title}, ${known.length} items. ${set.told[metric]}. Arrow keys walk through the points.`,
      { low: x0, high: x1, ticks: nice(x0, x1), title }, { low: y0, high: y1, ticks: nice(y0, y1) });
    const spots = element("g", { class: `spots ${side}` });
    const radius = known.length > 400 ? 2.2 : 3.2;
    const points = known.map((item, k) => ({
      x: px(xs[k]), y: py(ys[k]),
      text: () => `${describe(set, item)}: ${peopleSay(set, item)}; ${name(metric)} ${loose(values[item])}`,
    }));
    for (const p of points) spots.append(element("circle", { cx: p.x.toFixed(1), cy: p.y.toFixed(1), r: radius }));
    svg.append(spots);
    const curve = set.curves[metric];
    if (curve) {
      const path = curve.x.map((x, k) => [px(Math.max(x0, Math.min(x1, place(x)))), py(curve.y[k])]).filter(([, y]) => y >= 0 && y <= H - BOTTOM + 8);
      svg.append(element("path", { class: `curve ${side}`, d: "M" + path.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L") }));
    }
    const output = element("output", { "aria-live": "polite" });
    readable(svg, points, output, "Point at a dot, or focus the plot and use the arrow keys.");
    box.append(caption, element("p", { class: "y-title" }, set.people_title), svg, output);
    return box;
  }

  function scatters() {
    $("scatters").replaceChildren(scatter("a"), scatter("b"));
    disagreement();
  }
  $("pick-items").addEventListener("change", scatters);
  $("even").addEventListener("change", scatters);

  function strip(set, item, lines) {
    const images = element("div", { class: "images" });
    set.rows[item].forEach((image, side) => {
      const { key, words } = data.images[image];
      const holder = element("span", { class: "frame", "data-image": image }, element("span", {}, "image not stored in this run"));
      images.append(element("figure", {}, holder, element("figcaption", {}, element("b", {}, set.roles[side]), words && ` ${words}`, " ", element("code", {}, key))));
    });
    const card = element("article", { class: "strip" }, images, element("p", { class: "people-say" }, peopleSay(set, item)));
    for (const [side, text] of lines) card.append(element("p", { class: "side" }, element("span", { class: `is-${side}` }, name(chosen[side])), ` ${text}`));
    picture(card);
    return card;
  }

  function disagreement() {
    const set = items();
    const [x, y] = [set.signal[chosen.a], set.signal[chosen.b]];
    const both = x.map((_, i) => i).filter((i) => x[i] !== null && y[i] !== null);
    const scored = [];
    if (set.protocol === "2afc") {
      const [ra, rb] = [x, y].map((v) => placer(v.map((d) => (d === null ? null : Math.abs(d)))));
      for (const i of both) if (x[i] * y[i] < 0) scored.push([Math.min(ra(Math.abs(x[i])), rb(Math.abs(y[i]))), i]);
    } else {
      const [ra, rb] = [placer(x), placer(y)];
      for (const i of both) scored.push([Math.abs(ra(x[i]) - rb(y[i])), i, ra(x[i]), rb(y[i])]);
    }
    scored.sort((p, q) => q[0] - p[0] || p[1] - q[1]);
    const kind = set.protocol === "2afc"
      ? `They pick opposite images on ${scored.length.toLocaleString("en")} of ${both.length.toLocaleString("en")} items${scored.length ? "; shown are those on which both are surest" : ""}.`
      : "Items whose rank by distance, from 0 (most alike) to 100, differs most.";
    $("disagree-about").textContent = both.length ? kind : "At least one of them is undefined on these judgements.";
    const top = scored.filter(([d]) => d > 0).slice(0, 6);
    $("disagree").replaceChildren(...top.map(([, i, ra, rb]) => strip(set, i, set.protocol === "2afc"
      ? [["a", x[i] > 0 ? "finds b closer" : "finds a closer"], ["b", y[i] > 0 ? "finds b closer" : "finds a closer"]]
      : [["a", `rank ${Math.round(100 * ra)} of 100`], ["b", `rank ${Math.round(100 * rb)} of 100`]])));
  }

  // ---------------------------------------------------------------- cost
  const duration = (s) => (s >= 1 ? `${loose(s)} s` : s >= 1e-3 ? `${loose(1e3 * s)} ms` : `${loose(1e6 * s)} µs`);
  const parameters = (n) => (n >= 1e6 ? `${loose(n / 1e6)} M` : n >= 1e3 ? `${loose(n / 1e3)} k` : String(n));

  const narrow = matchMedia("(max-width: 40rem)");

  // Names beside their dots, right, left, above or below, where no other name is and, where there is
  // such a place, no dot. One that has no room is left out: its dot says it when pointed at.
  function labels(named, dots) {
    const spots = dots.map((p) => [p.x - p.size, p.x + p.size, p.y - p.size, p.y + p.size]);
    const taken = [], found = [];
    const em = narrow.matches ? 15 : 11; // as in the style
    const ruler = document.createElement("canvas").getContext("2d");
    ruler.font = `${em}px ${getComputedStyle(document.body).fontFamily}`;
    for (const { x, y, size, name } of named) {
      const width = ruler.measureText(name).width;
      const places = [[x + size + 4, y + 4], [x - size - 4 - width, y + 4], [x - width / 2, y - size - 4], [x - width / 2, y + size + em + 1]]
        .map(([left, base]) => [left, left + width, base - em, base + 0.3 * em])
        .filter(([x0, x1, y0, y1]) => x0 > LEFT && x1 < W && y0 > 0 && y1 < H - BOTTOM);
      const free = (others) => places.find(([x0, x1, y0, y1]) => !others.some(([a, b, c, d]) => x0 < b && a < x1 && y0 < d && c < y1));
      const box = free([...taken, ...spots]) || free(taken);
      if (!box) continue;
      taken.push(box);
      found.push(element("text", { class: "label", x: box[0].toFixed(1), y: (box[2] + em).toFixed(1) }, name));
    }
    return found;
  }

  function costs() {
    if (!$("costs")) return;
    const at = +$("pick-cost").value;
    const figure = at < 0 ? { title: "attained agreement", smaller: false, value: data.metrics.map((m) => m.attained) } : data.figures[at];
    const known = data.metrics.map((m, i) => i).filter((i) => data.metrics[i].seconds > 0 && figure.value[i] !== null);
    if (!known.length) return $("costs").replaceChildren(element("p", {}, "No metric has both."));
    const sign = figure.smaller ? -1 : 1;
    const xs = known.map((i) => Math.log10(data.metrics[i].seconds));
    const ys = known.map((i) => sign * figure.value[i]);
    const [x0, x1] = [Math.min(...xs) - 0.15, Math.max(...xs) + 0.35];
    const span = Math.max(...ys) - Math.min(...ys) || 1;
    const [y0, y1] = [Math.min(...ys) - 0.08 * span, Math.max(...ys) + 0.08 * span];
    const decades = [];
    for (let k = Math.ceil(x0); k <= x1; k++) decades.push(k);
    if (decades.length < 2) decades.splice(0, decades.length, ...nice(x0, x1, 3));
    const { svg, px, py } = frame(`Time per pair against ${figure.title} of ${known.length} metrics. Arrow keys walk through them.`,
      { low: x0, high: x1, ticks: decades, title: "time per pair (logarithmic)", label: (k) => duration(10 ** k) },
      { low: y0, high: y1, ticks: nice(y0, y1), label: (v) => loose(sign * v) });
    const order = known.map((_, k) => k).sort((p, q) => xs[p] - xs[q] || ys[q] - ys[p]);
    const front = [];
    let best = -Infinity;
    for (const k of order) if (ys[k] > best) { best = ys[k]; front.push(k); }
    svg.append(element("path", { class: "front", d: "M" + front.map((k) => `${px(xs[k]).toFixed(1)} ${py(ys[k]).toFixed(1)}`).join("L") }));
    const points = known.map((i, k) => ({
      x: px(xs[k]), y: py(ys[k]),
      text: () => `${name(i)}: ${duration(data.metrics[i].seconds)} per pair, ${data.metrics[i].parameters === null ? "parameters not recorded" : `${parameters(data.metrics[i].parameters)} parameters`}, ${figure.title} ${at < 0 ? loose(figure.value[i]) : short(figure.value[i])}${front.includes(k) ? "; nothing cheaper is better" : ""}`,
    }));
    known.forEach((i, k) => {
      const side = i === chosen.a ? "a" : i === chosen.b ? "b" : "spot";
      const size = 3.5 + (data.metrics[i].parameters ? 1.1 * Math.max(0, Math.log10(data.metrics[i].parameters) - 4) : 0);
      svg.append(element("circle", { class: side, cx: points[k].x.toFixed(1), cy: points[k].y.toFixed(1), r: size.toFixed(1) }));
      points[k].size = size;
    });
    const isChosen = (k) => known[k] === chosen.a || known[k] === chosen.b;
    const named = known.map((_, k) => k).filter((k) => isChosen(k) || front.includes(k));
    named.sort((p, q) => isChosen(q) - isChosen(p) || ys[q] - ys[p]);
    svg.append(...labels(named.map((k) => ({ ...points[k], name: name(known[k]) })), points));
    const output = element("output", { "aria-live": "polite" });
    readable(svg, points, output, "Point at a dot, or focus the plot and use the arrow keys.");
    $("costs").replaceChildren(element("figure", { class: "plotbox wide" }, element("figcaption", {}, element("b", {}, figure.title), element("span", {}, "against time; a larger dot has more parameters; the dashed line joins those that nothing cheaper beats")), svg, output));
  }
  if ($("costs")) for (const asked of [$("pick-cost"), narrow]) asked.addEventListener("change", costs);

  // ---------------------------------------------------------------- images and theme
  function picture(root) {
    for (const holder of all("[data-image]", root)) {
      const { key, picture: source } = data.images[+holder.dataset.image];
      if (source) holder.replaceChildren(element("img", { src: source, alt: key, loading: "lazy" }));
    }
  }

  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  picture(document);
  filter();
  update();
})();
