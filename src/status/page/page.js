"use strict";
// Reads the status and draws it. External text is inserted as text only, never as HTML.

const byId = (id) => document.getElementById(id);
const el = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

let report = null;
let skew = 0;
let newest = null;
const open = new Set();

const seconds = (ms) => (ms < 10000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms / 1000)} s`);

function age(at) {
  const s = Math.max(0, Math.round((Date.now() + skew - Date.parse(at)) / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

function clock(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date(Date.now() + skew).toDateString();
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return isToday ? time : `${date.toLocaleDateString()} ${time}`;
}

function timeOf(at) {
  const time = el("time", "", clock(at));
  time.dateTime = at;
  time.title = at;
  return time;
}

const doing = {
  create: "creating", start: "starting", restart: "restarting", replace: "replacing", confirm: "checking",
  rename: "renaming", remove: "removing", stop: "stopping",
};

const credentials = { app: "AWS credentials", host: "Host's AWS credentials", sign_in: "Sign-in" };

const outcomes = {
  going_on: "going on", done: "done", failed: "failed", rolled_back: "rolled back",
  image_missing: "image missing", abandoned: "abandoned", cut_off: "cut off",
};

function field(change) {
  if (change.before && change.after) return `${change.field}: ${change.before} \u2192 ${change.after}`;
  if (change.after) return `${change.field} added`;
  if (change.before) return `${change.field} removed`;
  return change.field;
}

function drawAction(action, withNode) {
  const isWrong = !["done", "going_on"].includes(action.outcome);
  const item = el("li", `action ${action.outcome === "done" ? "done" : isWrong ? "wrong-end" : ""}`);
  item.append(timeOf(action.ended_at || action.began_at));
  const what = el("div", "what");
  if (withNode) what.append(el("b", "", action.node), " ");
  what.append(withNode ? action.action : el("b", "", action.action), el("span", "", `: ${action.because}`));
  for (const cause of action.causes) what.append(el("span", "detail", `caused by: ${cause.change}`));
  if (!withNode) {
    for (const change of action.differences) what.append(el("span", "detail", field(change)));
    const steps = action.steps.map((step) => `${step.step} ${seconds(step.took_ms)}`).join(", ");
    if (steps) what.append(el("span", "detail", `steps: ${steps}`));
  }
  if (action.error) what.append(el("span", "detail wrong", action.error));
  item.append(what);
  const took = el("div", "took");
  const outcome = outcomes[action.outcome] || action.outcome;
  if (action.outcome === "done") {
    took.append(seconds(action.latency_ms ?? action.took_ms ?? 0));
    const parts = [action.latency_ms == null ? "in total" : "after the message"];
    if (action.downtime_ms != null) parts.push(`down ${seconds(action.downtime_ms)}`);
    took.append(el("span", "detail", parts.join(", ")));
  } else {
    took.append(el("span", action.outcome === "going_on" ? "" : "detail wrong", outcome));
  }
  if (action.attempts > 1) took.append(el("span", "detail", `${action.attempts} attempts`));
  item.append(took);
  return item;
}

function stateClass(node) {
  if (node.error || node.state === "crashing" || node.state === "dead") return "state bad";
  return node.state === "running" && node.is_settled ? "state good" : "state";
}

function drawNode(node) {
  const item = el("li");
  item.dataset.node = node.name;
  const details = el("details");
  const summary = el("summary");
  const name = el("span", "name", node.name);
  const image = (node.image || "").replace(/^[^/]*\//, "");
  if (image) name.append(el("span", "image", image));
  summary.append(name);
  summary.append(el("span", stateClass(node), node.busy ? doing[node.busy] || node.busy : node.state));
  const since = el("span", "soft since", `since ${age(node.since)}`);
  since.title = node.since;
  summary.append(since);
  const last = el("span", "last");
  if (node.last) last.textContent = `${node.last.action}: ${node.last.because}`;
  const byEngine = node.engine_restarts || 0;
  const restarts = node.restarts + byEngine;
  if (node.last || restarts) {
    const count = restarts === 1 ? "1 restart" : `${restarts} restarts`;
    last.append(el("span", "detail", byEngine ? `${count} (${byEngine} by the engine)` : count));
  }
  summary.append(last);
  if (node.error) summary.append(el("span", "error", node.error));
  details.append(summary);
  details.open = open.has(node.name);
  details.addEventListener("toggle", () => {
    if (!details.open) return void open.delete(node.name);
    open.add(node.name);
    loadHistory(node.name, details);
  });
  item.append(details);
  if (details.open) loadHistory(node.name, details);
  return item;
}

async function loadHistory(name, details) {
  const answer = await fetch(`/v1/history?node=${encodeURIComponent(name)}`).catch(() => null);
  if (!answer || !answer.ok) return;
  const history = await answer.json();
  const list = el("ol", "history");
  for (const action of history.actions.reverse()) list.append(drawAction(action, false));
  if (!history.actions.length) list.append(el("li", "soft", "No actions yet."));
  details.querySelector(".history")?.remove();
  details.append(list);
}

function drawFacts(daemon) {
  const facts = [
    ["Engine", daemon.engine ? `${daemon.engine.kind} ${daemon.engine.version}` : "none yet"],
    ["Last change", daemon.last_change_at ? `${age(daemon.last_change_at)} ago` : "none yet"],
    ["Daemon up", age(daemon.started_at)],
    ["Version", daemon.version],
  ];
  for (const [what, at] of Object.entries(daemon.expiries)) {
    const left = Date.parse(at) - Date.now() - skew;
    facts.push([credentials[what] || what, left > 0 ? `valid for ${Math.round(left / 60000)} min` : "expired"]);
  }
  byId("facts").replaceChildren(...facts.map(([term, value]) => {
    const pair = el("div");
    pair.append(el("dt", "", term), el("dd", "", value));
    return pair;
  }));
}

function drawChip(daemon, failing) {
  const chip = byId("phase");
  const isRunning = daemon.phase === "running";
  const isDegraded = daemon.cloud_failure || daemon.engine_failure;
  const text = isDegraded ? "degraded" : failing ? `${failing} failing`
    : isRunning ? (daemon.is_converged ? "in the desired state" : "working") : daemon.phase;
  // A screen reader announces each assignment, so assign only a new text.
  if (chip.textContent !== text) chip.textContent = text;
  chip.className = `chip ${isDegraded || failing ? "bad" : isRunning && daemon.is_converged ? "good" : ""}`;
}

function showProblem(text) {
  const box = byId("trouble");
  box.hidden = !text;
  if (box.textContent !== text) box.textContent = text;
}

function draw() {
  if (!report) return;
  const { daemon, nodes, recent } = report;
  document.title = `${daemon.app} \u2013 managed app`;
  byId("app").textContent = daemon.app;
  byId("tenant").textContent = `managed app of ${daemon.tenant}`;
  const failing = nodes.filter((node) => node.error).length;
  drawChip(daemon, failing);
  const failures = [["cloud", daemon.cloud_failure], ["engine", daemon.engine_failure]].filter(([, text]) => text);
  showProblem(failures.map(([what, text]) => `Requests to the ${what} fail: ${text}`).join("\n"));
  drawFacts(daemon);
  const up = nodes.filter((node) => node.state === "running").length;
  byId("count").textContent = nodes.length ? `${up} of ${nodes.length} up` : "";
  const focused = document.activeElement?.closest?.("[data-node]")?.dataset.node;
  const histories = new Map([...document.querySelectorAll("[data-node]")]
    .map((item) => [item.dataset.node, item.querySelector(".history")]));
  byId("nodes").replaceChildren(...nodes.map((node) => {
    const item = drawNode(node);
    const history = histories.get(node.name);
    if (history && open.has(node.name)) item.querySelector("details").append(history);
    return item;
  }));
  if (focused !== undefined) {
    const again = [...document.querySelectorAll("[data-node]")].find((item) => item.dataset.node === focused);
    again?.querySelector("summary").focus({ preventScroll: true });
  }
  byId("empty").hidden = nodes.length > 0;
  const key = (action) => `${action.id} ${action.attempts} ${action.outcome}`;
  const before = newest;
  byId("recent").replaceChildren(...recent.map((action) => {
    const item = drawAction(action, true);
    if (before && !before.has(key(action))) item.classList.add("fresh");
    return item;
  }));
  newest = new Set(recent.map(key));
  byId("recent").hidden = recent.length === 0;
  byId("calm").hidden = recent.length > 0;
}

let isLoading = false;
let isStale = false;

async function load() {
  if (isLoading) return void (isStale = true);
  isLoading = true;
  try {
    const answer = await fetch("/v1/status");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    report = await answer.json();
    skew = Date.parse(report.at) - Date.now();
    draw();
  } catch (error) {
    showUnreachable();
  }
  // A burst of events causes a few requests, not one for each event.
  setTimeout(() => {
    isLoading = false;
    if (isStale) {
      isStale = false;
      load();
    }
  }, 250);
}

function showUnreachable() {
  const chip = byId("phase");
  chip.textContent = "no answer";
  chip.className = "chip bad";
  showProblem("The daemon does not answer; the state below may be outdated. Retrying.");
}

const events = new EventSource("/v1/events");
events.onmessage = load;
events.onopen = load;
events.addEventListener("lost", load);
events.onerror = showUnreachable;
setInterval(() => (document.hidden ? undefined : load()), 10000);
load();
