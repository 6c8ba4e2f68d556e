"use strict";
// Draws the charts of a report from the figures in #data. All text that comes
// from the report is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  root.classList.add("js");
  const at = (id) => document.getElementById(id);
  const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const systemColor = (i) => color("s" + data.systems[i].slot);
  const narrow = () => window.innerWidth < 640;
  const shapes = ["circle", "rect", "triangle", "rectRot", "circle", "star", "crossRot", "rect"];
  const dashes = [[], [6, 3], [2, 3], [], [8, 3, 2, 3], [4, 4], [], [1, 2]];
  const subject = data.systems[data.subject].title;

  // Numbers as in the tables.
  const three = (v) => {
    const a = Math.abs(v);
    return a === 0 ? "0" : a < 0.00995 ? v.toFixed(4) : a < 9.995 ? v.toFixed(2) : a < 99.95 ? v.toFixed(1) : v.toFixed(0);
  };
  const short = (v) => String(Number(v.toPrecision(3)));
  const scaled = (v, step, units, print) => {
    let i = 0;
    while (i < units.length - 1 && Math.abs(v) >= step) { v /= step; i++; }
    return print(v) + units[i];
  };
  const rate = (v, print = short) => scaled(v, 1000, ["", " k", " M", " G"], print);
  const nanos = (v, print = short) => scaled(v, 1000, [" ns", " µs", " ms", " s"], print);

  const element = (name, text, cls) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (cls) e.className = cls;
    return e;
  };
  // One of several: calls set with the index.
  const choose = (box, names, set) => {
    const buttons = names.map((name, i) => {
      const b = element("button", name);
      b.type = "button";
      b.setAttribute("aria-pressed", String(i === 0));
      b.onclick = () => {
        buttons.forEach((x) => x.setAttribute("aria-pressed", String(x === b)));
        set(i);
      };
      box.append(b);
      return b;
    });
  };
  // Any of the systems.
  const keys = (box, systems, hidden, draw) => systems.forEach((i) => {
    const b = element("button");
    b.type = "button";
    b.append(element("i", "", "dot s" + data.systems[i].slot), data.systems[i].title);
    b.setAttribute("aria-pressed", "true");
    b.onclick = () => {
      hidden.has(i) ? hidden.delete(i) : hidden.add(i);
      b.setAttribute("aria-pressed", String(!hidden.has(i)));
      draw();
    };
    box.append(b);
  });
  // Systems that the chosen workload lacks have no key.
  const offer = (box, systems, has) => [...box.children].forEach((b, n) => { b.hidden = !has(systems[n]); });
  const options = (select, names, set) => {
    names.forEach((name, i) => select.add(new Option(name, i)));
    select.onchange = () => set(Number(select.value));
  };

  const charts = {};
  const draw = (id, config) => {
    charts[id]?.destroy();
    config.options.responsive = true;
    config.options.maintainAspectRatio = false;
    config.options.animation = false;
    charts[id] = new Chart(at(id), config);
  };
  const defaults = () => {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = narrow() ? 11 : 12;
    Chart.defaults.color = color("soft");
    Chart.defaults.borderColor = color("line");
    Chart.defaults.hoverBackgroundColor = (_, options) => options.backgroundColor;
    Chart.defaults.hoverBorderColor = (_, options) => options.borderColor;
    Chart.defaults.plugins.legend.display = false;
    Object.assign(Chart.defaults.plugins.tooltip, {
      backgroundColor: color("ink"), titleColor: color("ground"), bodyColor: color("ground"),
      padding: 10, cornerRadius: 8, boxPadding: 5, usePointStyle: true,
    });
  };
  const title = (text) => ({ display: !narrow(), text, color: color("soft") });
  // Ticks of a logarithmic axis: as many a decade as there is room for.
  const logTicks = (axis, most) => {
    const lists = [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 5], [1, 3], [1]];
    for (const digits of lists) {
      const ticks = [];
      for (let e = -6; e <= 13; e++) {
        for (const d of digits) {
          const v = Number((d * 10 ** e).toPrecision(2));
          if (v >= axis.min * 0.9999 && v <= axis.max * 1.0001) ticks.push({ value: v });
        }
      }
      axis.ticks = ticks;
      if (ticks.length <= most) return;
    }
  };
  // Ticks around 1, so that 1 is always one of them.
  const evenTicks = (axis, step, most) => {
    while ((axis.max - axis.min) / step > most) step *= 2;
    axis.ticks = [];
    for (let n = Math.ceil((axis.min - 1) / step - 1e-9); 1 + n * step <= axis.max + 1e-9; n++) axis.ticks.push({ value: 1 + n * step });
  };
  const line = (c, x1, y1, x2, y2) => { c.beginPath(); c.moveTo(x1, y1); c.lineTo(x2, y2); c.stroke(); };
  const one = {
    id: "one",
    beforeDatasetsDraw(chart) {
      const { ctx: c, chartArea: a, scales: { x } } = chart;
      c.save();
      c.strokeStyle = color("ink"); c.lineWidth = 1.5;
      line(c, x.getPixelForValue(1), a.top, x.getPixelForValue(1), a.bottom);
      c.restore();
    },
  };
  const direction = (m) => `${m.unit}; ${m.more ? "more" : "less"} is better`;
  const ratioAxis = (lows, highs, text) => {
    let min = Math.min(0.9, ...lows), max = Math.max(1.1, ...highs);
    min = Math.max(min, 0.01); max = Math.min(max, 1000);
    const log = max / min > 4;
    const pad = log ? 1.08 : 1;
    const step = max - min > 0.8 ? 0.2 : max - min > 0.35 ? 0.1 : 0.05;
    return {
      type: log ? "logarithmic" : "linear", position: "top",
      min: log ? min / pad : Math.floor(min / step + 1e-9) * step,
      max: log ? max * pad : Math.ceil(max / step - 1e-9) * step,
      afterBuildTicks: log ? (a) => logTicks(a, narrow() ? 6 : 12) : (a) => evenTicks(a, step, narrow() ? 5 : 14),
      ticks: { callback: (v) => log ? short(v) : v.toFixed(2), maxRotation: 0, autoSkip: false },
      title: title(text), border: { display: false },
    };
  };

  // The price: bars from 1 to the ratio.
  const price = { metric: 0 };
  const drawPrice = () => {
    const m = data.metrics[price.metric];
    const rows = data.workloads.map((label, i) => ({ label, v: m.ratios[i][data.baseline], bound: m.bounds[i], mark: m.marks[i] })).filter((r) => r.v);
    at("price-box").style.height = rows.length * (narrow() ? 21 : 24) + 70 + "px";
    const legend = at("price-legend");
    legend.replaceChildren(...[["met", "target met"], ["missed", "target missed"], ["free", "no target"]]
      .filter(([k]) => rows.some((r) => r.mark === k))
      .concat(rows.some((r) => r.bound) ? [["target", "target"]] : [], [["whisker", "lowest and highest round"]])
      .map(([k, text]) => { const s = element("span"); s.append(element("i", "", k), text); return s; }));
    legend.append(element("span", direction(m)));
    const colors = { met: color("met"), missed: color("missed"), free: color("free") };
    const marks = {
      id: "marks",
      afterDatasetsDraw(chart) {
        const { ctx: c, chartArea: a, scales: { x, y } } = chart;
        const clip = (v) => Math.min(Math.max(x.getPixelForValue(Math.max(v, 1e-6)), a.left), a.right);
        c.save();
        c.font = `${Chart.defaults.font.size}px ${Chart.defaults.font.family}`;
        c.textBaseline = "middle";
        rows.forEach((r, i) => {
          const py = y.getPixelForValue(i), low = clip(r.v[1]), high = clip(r.v[2]);
          c.strokeStyle = color("ink"); c.globalAlpha = 0.6; c.lineWidth = 1.25;
          line(c, low, py, high, py); line(c, low, py - 3, low, py + 3); line(c, high, py - 3, high, py + 3);
          c.globalAlpha = 1;
          if (r.bound) { c.lineWidth = 2.5; line(c, clip(r.bound), py - 8, clip(r.bound), py + 8); }
          c.fillStyle = r.mark === "missed" ? colors.missed : color("text");
          // A ratio that misses its target by a hair must not be printed as if it met it.
          const hair = r.mark === "missed" && three(r.v[0]) === three(r.bound);
          c.fillText(hair ? r.v[0].toFixed(3) : three(r.v[0]), a.right + 8, py);
        });
        c.restore();
      },
    };
    draw("price-chart", {
      type: "bar",
      data: {
        labels: rows.map((r) => r.label),
        datasets: [{ data: rows.map((r) => r.v[0]), base: 1, backgroundColor: rows.map((r) => colors[r.mark]), borderRadius: 2, borderSkipped: false, barThickness: narrow() ? 10 : 12 }],
      },
      options: {
        indexAxis: "y",
        layout: { padding: { right: 48 } },
        interaction: { mode: "index", axis: "y", intersect: false },
        scales: {
          x: ratioAxis(rows.map((r) => r.v[1]), rows.map((r) => r.v[2]), `${m.title}: ${subject} divided by ${data.systems[data.baseline].title}`),
          y: { grid: { display: false }, border: { display: false }, ticks: { autoSkip: false, color: color("text") } },
        },
        plugins: { tooltip: { callbacks: { label: (t) => {
          const r = rows[t.dataIndex];
          return [` ${r.v[0].toFixed(3)}, rounds ${r.v[1].toFixed(3)} to ${r.v[2].toFixed(3)}`].concat(r.bound ? [` target ${r.bound.toFixed(2)} ${r.mark}`] : []);
        } } } },
      },
      plugins: [one, marks],
    });
  };

  // The others: a dot a system, on a logarithmic scale.
  const others = { metric: 0, hidden: new Set() };
  const otherSystems = data.systems.map((_, i) => i).filter((i) => i !== data.subject);
  const drawOthers = () => {
    const m = data.metrics[others.metric];
    const shown = otherSystems.filter((i) => !others.hidden.has(i));
    const rows = data.workloads.map((label, i) => ({ label, v: m.ratios[i] })).filter((r) => otherSystems.some((i) => r.v[i]));
    at("others-box").style.height = rows.length * (narrow() ? 22 : 25) + 70 + "px";
    at("others-legend").replaceChildren(element("span", `${m.title}: ${direction(m)}`));
    const all = rows.flatMap((r) => otherSystems.map((i) => r.v[i]).filter(Boolean).map((v) => v[0]));
    draw("others-chart", {
      type: "line",
      data: {
        labels: rows.map((r) => r.label),
        datasets: shown.map((i) => ({
          label: data.systems[i].title, data: rows.map((r) => r.v[i] ? r.v[i][0] : null), showLine: false,
          pointStyle: shapes[data.systems[i].slot], pointRadius: narrow() ? 4 : 5, pointHoverRadius: 7,
          backgroundColor: systemColor(i) + "d0", borderColor: systemColor(i), borderWidth: ["star", "crossRot"].includes(shapes[data.systems[i].slot]) ? 2 : 1,
        })),
      },
      options: {
        indexAxis: "y",
        layout: { padding: { right: 14 } },
        interaction: { mode: "index", axis: "y", intersect: false },
        scales: {
          x: {
            type: "logarithmic", position: "top", min: Math.min(0.8, ...all) / 1.15, max: Math.max(1.25, ...all) * 1.15,
            afterBuildTicks: (a) => logTicks(a, narrow() ? 6 : 13), ticks: { callback: (v) => short(v) + "×", maxRotation: 0, autoSkip: false },
            title: title(`${subject} divided by the other system`), border: { display: false },
          },
          y: { offset: true, ticks: { autoSkip: false, color: color("text") }, border: { display: false } },
        },
        plugins: { tooltip: { callbacks: { label: (t) => {
          const v = rows[t.dataIndex].v[shown[t.datasetIndex]];
          return ` ${t.dataset.label}: ${three(v[0])}× (${three(v[1])} to ${three(v[2])})`;
        } } } },
      },
      plugins: [one],
    });
  };

  // Latency curves: the quantile by its number of nines.
  const latency = { workload: 0, hidden: new Set() };
  const nines = (q) => -Math.log10(1 - q);
  const percent = (x) => `${Number((100 * (1 - 10 ** -x)).toPrecision(Math.max(2, Math.ceil(x) + 1)))} %`;
  const drawLatency = () => {
    const w = data.latency[latency.workload];
    const shown = data.systems.map((_, i) => i).filter((i) => w.curves[i] && !latency.hidden.has(i));
    offer(at("latency-systems"), data.systems.map((_, i) => i), (i) => w.curves[i]);
    draw("latency-chart", {
      type: "line",
      data: { datasets: shown.map((i) => ({
        label: data.systems[i].title, data: w.curves[i].map(([q, v]) => ({ x: nines(q), y: v })),
        borderColor: systemColor(i), backgroundColor: systemColor(i), borderWidth: i === data.subject ? 3 : 2, borderDash: dashes[data.systems[i].slot],
        pointRadius: 0, pointHoverRadius: 4, tension: 0.15, order: i === data.subject ? 0 : 1,
      })) },
      options: {
        layout: { padding: { right: 14 } },
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: {
            type: "linear", min: 0, max: Math.max(1, ...w.curves.flatMap((c) => c ? nines(c[c.length - 1][0]) : [])), title: title("share of operations that were faster"),
            afterBuildTicks: (a) => { a.ticks = [0, nines(0.5), 1, 2, 3, 4, 5, 6].filter((v) => v <= a.max).map((value) => ({ value })); },
            ticks: { callback: (v) => v === 0 ? "0" : percent(v), maxRotation: 0, autoSkip: true },
          },
          y: { type: "logarithmic", title: title("latency"), afterBuildTicks: (a) => logTicks(a, 12), ticks: { callback: (v) => nanos(v) } },
        },
        plugins: { tooltip: { itemSort: (a, b) => b.parsed.y - a.parsed.y, callbacks: {
          title: (t) => t.length ? percent(t[0].parsed.x) : "",
          label: (t) => ` ${t.dataset.label}: ${nanos(t.parsed.y, three)}`,
        } } },
      },
    });
  };

  // The course of a round, with events.
  const timed = data.systems.map((_, i) => i).filter((i) => (data.timelines || []).some((w) => w.lines.some((l) => l.system === i)));
  const time = { workload: 0, metric: 0, hidden: new Set() };
  const drawTime = () => {
    const w = data.timelines[time.workload];
    const shown = w.lines.filter((l) => !time.hidden.has(l.system));
    const p99 = time.metric === 1;
    offer(at("time-systems"), timed, (i) => w.lines.some((l) => l.system === i));
    const tails = w.lines.flatMap((l) => l.points.map((p) => p[2])).filter((v) => v > 0);
    const events = {
      id: "events",
      beforeDatasetsDraw(chart) {
        const { ctx: c, chartArea: a, scales: { x } } = chart;
        c.save();
        c.beginPath(); c.rect(a.left, a.top, a.width, a.height); c.clip();
        let free = a.left;
        for (const l of shown) {
          for (const e of l.events || []) {
            const from = x.getPixelForValue(e.at), to = Math.max(from + 1.5, x.getPixelForValue(e.at + e.seconds));
            c.fillStyle = systemColor(l.system);
            c.globalAlpha = 0.16; c.fillRect(from, a.top, to - from, a.height);
            c.globalAlpha = 0.7; c.fillRect(from, a.top, 1.5, a.height);
            const text = e.name, wide = c.measureText(text).width;
            if (from + 5 >= free && from + 5 + wide < a.right) {
              c.globalAlpha = 1; c.fillStyle = color("soft");
              c.font = `${Chart.defaults.font.size - 1}px ${Chart.defaults.font.family}`;
              c.fillText(text, from + 5, a.top + 12);
              free = from + 12 + wide;
            }
          }
        }
        c.restore();
      },
    };
    const notes = w.lines.filter((l) => l.events && l.events.length).map((l) => {
      const list = l.events.slice(0, 6).map((e) => `${e.name} at ${three(e.at)} s for ${nanos(e.seconds * 1e9)}`);
      if (l.events.length > 6) list.push(`${l.events.length - 6} more`);
      return `${data.systems[l.system].title}: ${list.join(", ")}.`;
    });
    at("time-events").textContent = notes.join(" ");
    draw("time-chart", {
      type: "line",
      data: { datasets: shown.map((l) => ({
        label: data.systems[l.system].title, data: l.points.map(([t, ops, p]) => ({ x: t, y: p99 ? p || null : ops })),
        borderColor: systemColor(l.system), backgroundColor: systemColor(l.system), borderWidth: l.system === data.subject ? 2.5 : 1.75,
        borderDash: dashes[data.systems[l.system].slot], pointRadius: 0, pointHoverRadius: 4, order: l.system === data.subject ? 0 : 1,
      })) },
      options: {
        layout: { padding: { right: 14 } },
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: { type: "linear", min: 0, title: title("seconds"), ticks: { callback: (v) => short(v) + (narrow() ? " s" : "") , maxRotation: 0 } },
          y: p99
            ? { type: "logarithmic", min: Math.min(...tails) / 2, max: Math.max(...tails) * 2, title: title("p99 latency"), afterBuildTicks: (a) => logTicks(a, 12), ticks: { callback: (v) => nanos(v) } }
            : { beginAtZero: true, grace: "8%", title: title("operations a second"), ticks: { callback: (v) => rate(v) } },
        },
        plugins: { tooltip: { itemSort: (a, b) => b.parsed.y - a.parsed.y, callbacks: {
          title: (t) => t.length ? three(t[0].parsed.x) + " s" : "",
          label: (t) => ` ${t.dataset.label}: ${p99 ? nanos(t.parsed.y, three) : rate(t.parsed.y, three) + " ops/s"}`,
        } } },
      },
      plugins: [events],
    });
  };

  const all = [];
  const section = (id, has, setup, render) => {
    if (!has) { at(id)?.remove(); return; }
    setup();
    all.push(render);
  };
  const metrics = data.metrics.map((m) => m.title);
  const any = (systems) => data.metrics.some((m) => m.ratios.some((r) => systems.some((i) => r[i])));
  if (data.baseline >= 0 && data.baseline !== data.subject && any([data.baseline])) {
    choose(at("price-metric"), metrics, (i) => { price.metric = i; drawPrice(); });
    all.push(drawPrice);
  } else {
    document.querySelector("#price .script").remove();
  }
  section("others", any(otherSystems), () => {
    choose(at("others-metric"), metrics, (i) => { others.metric = i; drawOthers(); });
    keys(at("others-systems"), otherSystems, others.hidden, () => drawOthers());
  }, drawOthers);
  section("latency", data.latency && data.latency.length, () => {
    options(at("latency-workload"), data.latency.map((w) => w.label), (i) => { latency.workload = i; drawLatency(); });
    keys(at("latency-systems"), data.systems.map((_, i) => i), latency.hidden, () => drawLatency());
  }, drawLatency);
  section("time", data.timelines && data.timelines.length, () => {
    const first = Math.max(0, data.timelines.findIndex((w) => w.lines.some((l) => l.events && l.events.length)));
    options(at("time-workload"), data.timelines.map((w) => w.label), (i) => { time.workload = i; drawTime(); });
    at("time-workload").value = String(time.workload = first);
    choose(at("time-metric"), ["Throughput", "p99 latency"], (i) => { time.metric = i; drawTime(); });
    keys(at("time-systems"), timed, time.hidden, () => drawTime());
  }, drawTime);

  const drawAll = () => { defaults(); all.forEach((f) => f()); };
  const open = at("open-all");
  open.onclick = () => {
    const list = [...document.querySelectorAll("#figures > details")];
    const to = !list.every((d) => d.open);
    list.forEach((d) => { d.open = to; });
    open.textContent = to ? "Close all" : "Open all";
  };
  if (data.baseline >= 0) document.querySelector("details.figures").open = false;
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("(max-width: 639px)").addEventListener("change", drawAll);
  // On paper: light, and with all tables.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((d) => { d.open = true; });
    root.classList.add("print");
    drawAll();
  });
  addEventListener("afterprint", () => {
    closed.forEach((d) => { d.open = false; });
    root.classList.remove("print");
    drawAll();
  });
})();
