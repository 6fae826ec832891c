"use strict";

// Light and dark -------------------------------------------------------------------------------
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

document.getElementById("theme")?.addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("cuecard-theme", theme); } catch { /* for this page alone */ }
  drawCurves();
});

// Curves of a run ------------------------------------------------------------------------------
let plots = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// An exponential mean, unbiased at its start.
function smooth(values, keep) {
  let total = 0, weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    total = keep * total + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return total / weight;
  });
}

// Curves that share an axis as uPlot takes them: steps, then each one's values.
function joined(curves, keep) {
  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const columns = curves.map((curve) => {
    const values = curve.key === "loss" ? smooth(curve.values, keep) : curve.values;
    const at = new Map(curve.steps.map((step, place) => [step, values[place]]));
    return steps.map((step) => at.get(step) ?? null);
  });
  return [steps, ...columns];
}

const PALETTE = { loss: "--blue", validation_loss: "--orange", validation_accuracy: "--green",
                  best: "--blue", candidate: "--orange" };
const SEVERAL = ["--blue", "--orange", "--green", "--red", "--violet", "--teal", "--brown", "--ink"];

// Of one run each kind of curve has its colour, of several each run.
function colours(curves) {
  const same = new Set(curves.map((curve) => curve.key)).size === 1 && curves.length > 1;
  return curves.map((curve, place) => colour(same ? SEVERAL[place % 8] : PALETTE[curve.key]));
}

// A scale with some room, also round a line that does not move.
function within(_, low, high) {
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 0.005);
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function plot(box, curves, keep) {
  const strokes = colours(curves);
  const axis = { stroke: colour("--ink"), grid: { stroke: colour("--faint"), width: 1 },
                 ticks: { stroke: colour("--faint"), width: 1 } };
  const options = {
    width: box.clientWidth, height: 240,
    cursor: { y: false, sync: { key: "run" } },
    scales: { x: { time: false }, y: { range: within } },
    axes: [{ ...axis }, { ...axis, size: 56 }],
    series: [
      { label: box.parentElement.dataset.axis ?? "step" },
      ...curves.map((curve, place) => ({
        label: curve.name, stroke: strokes[place], width: 2, spanGaps: true,
        points: { show: curve.key === "candidate" || (curve.key !== "loss" && curve.steps.length < 60) },
        ...(curve.key === "candidate" ? { paths: () => null } : {}),  // dots alone
        value: (_, value) => (value === null ? "–" : value.toFixed(4)),
      })),
    ],
  };
  return new uPlot(options, joined(curves, keep), box);
}

function drawCurves() {
  const box = document.getElementById("curves");
  const data = document.getElementById("curves-data");
  if (!box || !data || typeof uPlot === "undefined") return;
  const curves = JSON.parse(data.dataset.curves);
  const slider = document.getElementById("smoothing");
  const keep = slider ? Number(slider.value) : 0;
  if (slider) document.getElementById("curve-tools").hidden = false;
  for (const old of plots) old.destroy();
  box.replaceChildren();
  const panels = [
    curves.filter((curve) => curve.key !== "validation_accuracy"),
    curves.filter((curve) => curve.key === "validation_accuracy"),
  ].filter((panel) => panel.length);
  plots = panels.map((panel) => {
    const inner = document.createElement("div");
    box.append(inner);
    return plot(inner, panel, keep);
  });
}

document.getElementById("smoothing")?.addEventListener("input", drawCurves);
addEventListener("resize", drawCurves);
document.addEventListener("htmx:after:swap", drawCurves);
drawCurves();

// Texts of the playground, as they are written ---------------------------------------------------
for (const box of document.querySelectorAll("[data-stream]")) {
  const started = performance.now();
  const [output, note] = [box.querySelector("output"), box.querySelector("p")];
  const source = new EventSource(box.dataset.stream);
  let tokens = null;
  const end = (text) => { source.close(); note.textContent = text; };
  source.onmessage = (event) => {
    const spent = `${Math.round(performance.now() - started)} ms`;
    if (event.data === "[DONE]") return end(tokens === null ? spent : `${spent}, ${tokens} tokens`);
    const told = JSON.parse(event.data);
    if (told.error) return end(told.error.message);
    output.textContent += told.choices?.[0]?.text ?? "";
    if (told.usage) tokens = told.usage.total_tokens;
    note.textContent = "writing";
  };
  source.addEventListener("refused", (event) => end(JSON.parse(event.data).what));
  source.onerror = () => end("the connection was lost");
}
