"use strict";
/*
 * Draws what /status, /metrics and /readyz of the same origin say, every two seconds. Texts go into
 * the page as text only (textContent), whatever they hold. Nothing is kept: a reload begins anew.
 */
(() => {
const EVERY_MS = 2000;
const ANSWER_MS = 8000; // a question that takes longer counts as not answered
const KEEP = 150;       // points of a plot: five minutes
const WINDOW = 5;       // answers over which rates and flush times are taken
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

/* Elements ---------------------------------------------------------------------------------- */

function element(tag, attributes, ...children) {
	const made = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes || {}))
		made.setAttribute(name, value);
	made.append(...children);
	return made;
}

function setText(node, text) {
	if (node.textContent !== text)
		node.textContent = text;
}

// Makes a list's items say these texts, each with a class; unchanged ones are left alone.
function setList(list, items, none) {
	const wanted = items.length ? items : [{text: none, kind: "soft"}];
	while (list.children.length > wanted.length)
		list.lastChild.remove();
	wanted.forEach((item, index) => {
		const node = list.children[index] || list.appendChild(element("li"));
		setText(node, item.text);
		node.className = item.kind || "";
	});
}

/* Numbers ----------------------------------------------------------------------------------- */

const grouped = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});
const count = (number) => number === null || number === undefined ? "?" : grouped.format(number);

function short(number) {
	if (number === null)
		return "–";
	if (number >= 1e6)
		return `${(number / 1e6).toFixed(2)} M`;
	if (number >= 1e4)
		return `${(number / 1e3).toFixed(1)} k`;
	return grouped.format(number);
}

function duration(seconds) {
	if (seconds === null)
		return "–";
	if (seconds < 1)
		return `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
	if (seconds < 120)
		return `${seconds.toFixed(1)} s`;
	if (seconds < 7200)
		return `${Math.round(seconds / 60)} min`;
	return `${(seconds / 3600).toFixed(1)} h`;
}

const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

/* Prometheus' text format ------------------------------------------------------------------- */

// name -> [{labels, value}]
function parseMetrics(text) {
	const found = new Map();
	for (const line of text.split("\n")) {
		const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
		if (!match)
			continue;
		const labels = {};
		for (const [, name, value] of (match[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
			labels[name] = value;
		const value = match[3] === "+Inf" ? Infinity : Number(match[3]);
		if (!found.has(match[1]))
			found.set(match[1], []);
		found.get(match[1]).push({labels, value});
	}
	return found;
}

function samples(metrics, name, labels) {
	return (metrics.get(name) || []).filter((sample) =>
		Object.entries(labels || {}).every(([key, value]) => sample.labels[key] === value));
}

// The sum of a family's samples; null if there is none.
function sum(metrics, name, labels) {
	const found = samples(metrics, name, labels);
	return found.length ? total(found.map((sample) => sample.value)) : null;
}

// [{upper, count}] of a flush's whole time: cumulative, ascending.
function flushBuckets(metrics) {
	return samples(metrics, "ledger_flush_duration_seconds_bucket", {stage: "total"})
		.map((sample) => ({upper: sample.labels.le === "+Inf" ? Infinity : Number(sample.labels.le),
			count: sample.value}));
}

// The P95 of what was added between two readings, by interpolation within its bucket; null: nothing.
function quantile(before, after, share) {
	const added = after.map((bucket, index) =>
		({upper: bucket.upper, count: bucket.count - (before[index] ? before[index].count : 0)}));
	const all = added.length ? added[added.length - 1].count : 0;
	if (all <= 0)
		return null;
	const rank = all * share;
	let lower = 0, below = 0;
	for (const {upper, count} of added) {
		if (count >= rank)
			return upper === Infinity ? lower
				: lower + (upper - lower) * (rank - below) / Math.max(count - below, 1);
		lower = upper;
		below = count;
	}
	return lower;
}

/* Plots ------------------------------------------------------------------------------------- */

class Plot {
	constructor(parent, width, height) {
		this.width = width;
		this.height = height;
		this.points = [];
		this.svg = document.createElementNS(SVG, "svg");
		this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
		this.svg.setAttribute("preserveAspectRatio", "none");
		this.svg.setAttribute("role", "img");
		this.axis = this.path("axis", `M0 ${height - 0.5}H${width}`);
		this.area = this.path("area", "");
		this.stroke = this.path("stroke", "");
		parent.append(this.svg);
	}

	path(kind, shape) {
		const made = document.createElementNS(SVG, "path");
		made.setAttribute("class", kind);
		made.setAttribute("d", shape);
		this.svg.append(made);
		return made;
	}

	// null: not known then. `spoken` makes the sentence for those who do not see it.
	add(point, spoken) {
		this.points.push(point);
		if (this.points.length > KEEP)
			this.points.shift();
		const known = this.points.filter((one) => one !== null);
		this.highest = known.length ? Math.max(...known) : null;
		this.svg.setAttribute("aria-label", spoken(this.highest));
		this.draw();
	}

	draw() {
		const scale = (this.height - 2) / (this.highest || 1);
		const step = this.width / (KEEP - 1);
		const first = KEEP - this.points.length;
		let stroke = "", area = "", begun = null, last = null;
		const close = () => {
			if (begun !== null)
				area += `L${last} ${this.height}L${begun} ${this.height}Z`;
			begun = null;
		};
		this.points.forEach((point, index) => {
			if (point === null)
				return close();
			const x = ((first + index) * step).toFixed(1);
			const y = (this.height - 1 - point * scale).toFixed(1);
			stroke += `${begun === null ? "M" : "L"}${x} ${y}`;
			area += `${begun === null ? "M" : "L"}${x} ${y}`;
			begun = begun === null ? x : begun;
			last = x;
		});
		close();
		this.stroke.setAttribute("d", stroke);
		this.area.setAttribute("d", area);
	}
}

/* Figures ----------------------------------------------------------------------------------- */

class Figure {
	constructor(id, title) {
		this.title = title;
		this.value = element("div", {class: "value", id});
		this.note = element("div", {class: "note"});
		const box = element("div", {class: "figure"}, element("h2", {}, title), this.value, this.note);
		this.plot = new Plot(box, 300, 40);
		byId("figures").append(box);
	}

	show(number, format, note) {
		setText(this.value, format(number));
		this.plot.add(number, (highest) => `${this.title} over the last minutes: now ` +
			`${format(number)}, at most ${format(highest)}`);
		setText(this.note, note || (this.plot.highest === null ? "" :
			`at most ${format(this.plot.highest)}`));
	}
}

const figures = {
	rate: new Figure("rate", "Offsets a second"),
	lag: new Figure("lag", "Lag"),
	flush: new Figure("flush", "Flush, P95"),
	oldest: new Figure("oldest", "Oldest event waiting"),
	redis: new Figure("redis", "Waiting for Redis"),
};

/* Partitions -------------------------------------------------------------------------------- */

const COLUMNS = [
	["partition", "Partition", "number"], ["state", "State", ""], ["owner", "Owner", ""],
	["lag", "Lag", "number"], ["rate", "Rate", "number"], ["next", "Next offset", "number"],
	["end", "Log end", "number"], ["redis", "Redis offset", "number"], ["lease", "Lease", "number"],
];

byId("partitions").tHead.append(element("tr", {role: "row"}, ...COLUMNS.map(([, title, kind]) =>
	element("th", {role: "columnheader", scope: "col", class: kind}, title))));

const rows = new Map(); // partition -> its row

function makeRow(number) {
	const row = {node: element("tr", {role: "row", id: `partition-${number}`}), text: {}};
	for (const [name, title, kind] of COLUMNS) {
		const head = name === "partition";
		const cell = element(head ? "th" : "td", {"data-label": title, "data-name": name,
			class: kind, role: head ? "rowheader" : "cell", ...(head ? {scope: "row"} : {})});
		row.text[name] = cell.appendChild(element("span"));
		if (name === "rate")
			row.plot = new Plot(cell, 120, 20);
		row.node.append(cell);
	}
	return row;
}

function dropRowsBut(partitions) {
	const wanted = new Set(partitions.map((one) => one.partition));
	for (const [number, row] of rows) {
		if (!wanted.has(number)) {
			row.node.remove();
			rows.delete(number);
		}
	}
}

const KINDS = {owned: "good", free: "warn", halted: "bad"};

// What this instance does with it, where that says more than "owned".
function ownState(metrics, partition) {
	const now = samples(metrics, "ledger_partition_state", {partition: String(partition)})
		.find((sample) => sample.value === 1);
	const state = now ? now.labels.state : "";
	return ["acquiring", "recovering", "draining"].includes(state) ? `, ${state}` : "";
}

function showPartition(one, metrics, rate) {
	if (!rows.has(one.partition)) {
		rows.set(one.partition, makeRow(one.partition));
		byId("partitions").tBodies[0].append(rows.get(one.partition).node);
	}
	const {text, plot} = rows.get(one.partition);
	setText(text.partition, String(one.partition));
	setText(text.state, one.state + ownState(metrics, one.partition) +
		(one.requested_by ? `, asked for by ${one.requested_by}` : ""));
	text.state.className = KINDS[one.state] || "";
	setText(text.owner, one.owner || "–");
	setText(text.lag, count(one.lag));
	setText(text.rate, rate === null ? "–" : `${short(rate)}/s`);
	setText(text.next, count(one.next_offset));
	setText(text.end, count(one.high_watermark));
	setText(text.redis, count(one.redis_offset));
	setText(text.lease, one.lease_expires_in_ms === null ? "–" : duration(one.lease_expires_in_ms / 1e3));
	plot.add(rate, (highest) => `Rate of partition ${one.partition}: now ${short(rate)}, ` +
		`at most ${short(highest)} a second`);
}

/* Answers ----------------------------------------------------------------------------------- */

async function ask(path) {
	const answer = await fetch(path, {cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS)});
	return {ok: answer.ok, text: await answer.text()};
}

const history = []; // the newest answers: {at_s, offsets, metrics}

// Offsets a second since the oldest answer that is kept, by partition; null: not known yet.
function rates(now) {
	const then = history[0];
	return new Map([...now.offsets].map(([partition, offset]) => {
		const before = then && then.offsets.get(partition);
		return [partition, before === undefined ? null
			: Math.max(0, offset - before) / (now.at_s - then.at_s)];
	}));
}

const clock = (date) => date.toISOString().slice(0, 19).replace("T", " ") + " UTC";

function ago(at) {
	const seconds = (Date.now() - Date.parse(at)) / 1e3;
	return seconds < 0 ? "" : ` (${duration(Math.round(seconds)).replace(".0", "")} ago)`;
}

// Of what this instance owns; nothing where it is a matter of seconds.
function timeLeft({events, events_per_second: perSecond, seconds_left: seconds}) {
	if (!events || perSecond === null || events < 5 * perSecond)
		return "";
	return seconds === null ? "not getting less" : `about ${duration(seconds).replace(".0", "")} left`;
}

function showFigures(status, now, byPartition) {
	const {metrics} = now;
	const then = history.length ? history[0].metrics : metrics;
	const known = status.partitions.filter((one) => one.lag !== null);
	const perSecond = [...byPartition.values()].filter((rate) => rate !== null);
	const oldest = samples(metrics, "ledger_oldest_event_seconds").map((one) => one.value);

	const backlog = status.backlog || {};

	figures.rate.show(perSecond.length ? total(perSecond) : null, short);
	figures.lag.show(known.length ? total(known.map((one) => one.lag)) : null, short,
		timeLeft(backlog) || (known.length < status.partitions.length
			? `known of ${known.length} of ${status.partitions.length} partitions` : ""));
	figures.flush.show(quantile(flushBuckets(then), flushBuckets(metrics), 0.95), duration);
	figures.oldest.show(oldest.length ? Math.max(...oldest) : null,
		(seconds) => seconds === 0 ? "none" : duration(seconds));
	const rebuilding = sum(metrics, "ledger_redis_rebuilding");
	figures.redis.show(sum(metrics, "ledger_redis_pending"), short,
		sum(metrics, "ledger_redis_connected") === 0 ? "not connected"
			: rebuilding ? `writing ${rebuilding} partitions again` : "");
}

function showCounts(metrics) {
	const events = (result) => count(sum(metrics, "ledger_events_total", {result}));
	const wanted = [["Applied", events("applied")], ["Refused (no funds)", events("refused")],
		["Duplicates", events("duplicate")], ["Dead letters", events("dead_letter")],
		["Fenced", count(sum(metrics, "ledger_fenced_total"))],
		["Balances that drifted", count(sum(metrics, "ledger_balance_drift"))],
		["MySQL retries", count(sum(metrics, "ledger_mysql_retries_total"))],
		["Redis rebuilds", count(sum(metrics, "ledger_redis_rebuilds_total"))]];
	const list = byId("counts");
	for (const [name, text] of wanted) {
		let value = list.querySelector(`[data-name="${name}"]`);
		if (!value) {
			value = element("dd", {"data-name": name});
			list.append(element("dt", {}, name), value);
		}
		setText(value, text);
	}
}

function showLists(status, ready) {
	const halted = status.partitions.filter((one) => one.halted_reason);
	byId("halted").hidden = halted.length === 0;
	setList(byId("halts"), halted.map((one) => ({kind: "bad", text: `Partition ${one.partition}, ` +
		`since ${clock(new Date(one.updated_at))}${ago(one.updated_at)}: ${one.halted_reason}`})), "");
	const here = status.answered_by || {incidents: []};
	setList(byId("incidents"), here.incidents.map((one) =>
		({text: `${clock(new Date(one.at))}${ago(one.at)}: partition ${one.partition} ` +
			`${one.what}: ${one.reason}`})), "None since it started.");
	setList(byId("instances"), status.instances.map((one) => {
		const owned = status.partitions.filter((p) => p.owner === one.consumer_id).length;
		return {text: `${one.consumer_id}${one.consumer_id === here.consumer_id ? " (this one)" : ""}: ` +
			`owns ${owned} of ${status.partitions.length}, may own ${one.partitions}`};
	}), "No instance is alive.");
	setList(byId("checks"), ready.text.trim().split("\n").map((line) =>
		line.startsWith("ok ") ? {kind: "good", text: `✓ ${line}`} : {kind: "bad", text: `✗ ${line}`}),
	"");
}

/* The verdict ------------------------------------------------------------------------------- */

const SIGNS = {good: "✓", warn: "!", bad: "✗", wait: "…"};

function showVerdict(kind, text) {
	byId("verdict").className = kind;
	setText(byId("sign"), SIGNS[kind]);
	setText(byId("verdict-text"), text);
	document.title = `${SIGNS[kind]} ledgerd`;
}

const several = (number, one, more) => number === 1 ? `1 partition ${one}` : `${number} partitions ${more}`;

function judge(status, metrics, ready) {
	const halted = status.partitions.filter((one) => one.state === "halted").length;
	const free = status.partitions.filter((one) => one.state === "free").length;
	const drift = sum(metrics, "ledger_balance_drift");

	if (halted)
		return showVerdict("bad", `${several(halted, "is halted", "are halted")}: a person must act`);
	if (drift)
		return showVerdict("bad", `Balances drifted: ${count(drift)}; run ledgerd verify`);
	if (free)
		return showVerdict("warn", several(free, "has no owner", "have no owner"));
	if (!ready.ok)
		return showVerdict("warn", "This instance is not ready: see below");
	return showVerdict("good", status.partitions.length
		? `All ${status.partitions.length} partitions are owned, none is halted`
		: "There are no partitions yet");
}

/* The loop ---------------------------------------------------------------------------------- */

function show(answers) {
	const [statusAnswer, metricsAnswer, ready] = answers;
	const metrics = parseMetrics(metricsAnswer.ok ? metricsAnswer.text : "");
	document.body.classList.toggle("old", !statusAnswer.ok);
	if (!statusAnswer.ok)
		return showVerdict("bad", `The database did not answer: ${statusAnswer.text}`);
	const status = JSON.parse(statusAnswer.text);
	const here = status.answered_by || {};
	const now = {at_s: performance.now() / 1e3, metrics,
		offsets: new Map(status.partitions.map((one) => [one.partition, one.next_offset]))};
	const byPartition = rates(now);

	setText(byId("topic"), status.topic || "");
	setText(byId("about"), `${here.consumer_id || "?"}, version ${here.version || "?"}; ` +
		`${status.server}, schema ${status.schema_version}; Kafka cluster ` +
		`${status.kafka_cluster_id || "not known yet"}`);
	dropRowsBut(status.partitions);
	for (const one of status.partitions)
		showPartition(one, metrics, byPartition.get(one.partition));
	showFigures(status, now, byPartition);
	showCounts(metrics);
	showLists(status, ready);
	judge(status, metrics, ready);
	history.push(now);
	if (history.length > WINDOW)
		history.shift();
	setText(byId("updated"), `Updated ${clock(new Date())}`);
}

async function turn() {
	if (!document.hidden) {
		try {
			show(await Promise.all(["status", "metrics", "readyz"].map(ask)));
		} catch (problem) {
			document.body.classList.add("old");
			showVerdict("bad", `This instance does not answer: ${problem.message}`);
		}
	}
	setTimeout(turn, EVERY_MS);
}

turn();
})();
