"use strict";

// The page asks the server that it came from, and no other. Texts of users and models become text nodes, never markup.

const $ = (id) => document.getElementById(id);
const base = location.pathname.replace(/\/(index\.html)?$/, "");
const NUMBERS = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "max_tokens"];

/** Makes an element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// What is kept

function stored(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Without storage the page works until it is closed.
  }
}

const settings = stored("tabagent.settings", {});
/** @type {{role: string, content: string, reasoning?: string, calls?: {id: string, name: string, arguments: string}[], stats?: object, error?: string}[]} */
let messages = stored("tabagent.messages", []);
let running = null;

// Markdown, as models write it

/** Emphasis, code and links of one piece of text. */
function inline(into, text) {
  const pattern = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^\s*](?:[\s\S]*?[^\s])?)\*\*|(?<![\w*])\*([^\s*](?:[^*\n]*?[^\s*])?)\*(?!\w)|(?<!\w)_([^\s_](?:[^_\n]*?[^\s_])?)_(?!\w)|~~([^~\n]+)~~|\[([^\]\n]*)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>()\[\]"'`]*[^\s<>()\[\]"'`.,;:!?])/g;
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    into.append(text.slice(end, found.index));
    end = found.index + found[0].length;
    const [, , code, strong, emphasis, other, struck, label, target, address] = found;
    if (code !== undefined) into.append(make("code", {}, code.trim() || code));
    else if (strong !== undefined) into.append(inline(make("strong"), strong));
    else if (emphasis !== undefined || other !== undefined) into.append(inline(make("em"), emphasis ?? other));
    else if (struck !== undefined) into.append(inline(make("s"), struck));
    else into.append(make("a", { href: target ?? address, target: "_blank", rel: "noopener noreferrer" }, label || target || address));
  }
  into.append(text.slice(end));
  return into;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const ROW = /^\s*\|.*\|\s*$/;

/** A list that begins at line `at`, and the line after it. */
function list(lines, at) {
  const [, indent, mark] = lines[at].match(ITEM);
  const ordered = /\d/.test(mark);
  const items = make(ordered ? "ol" : "ul", ordered ? { start: parseInt(mark, 10) } : {});
  while (at < lines.length) {
    const item = lines[at].match(ITEM);
    if (item && item[1].length < indent.length) break;
    if (item && item[1].length === indent.length) {
      if (/\d/.test(item[2]) !== ordered) break;
      items.append(inline(make("li"), item[3]));
      at += 1;
    } else if (item) {
      const [inner, next] = list(lines, at);
      items.lastElementChild.append(inner);
      at = next;
    } else if (lines[at].trim() && /^\s/.test(lines[at])) {
      inline(items.lastElementChild, ` ${lines[at].trim()}`);
      at += 1;
    } else if (!lines[at].trim() && at + 1 < lines.length && ITEM.test(lines[at + 1])) {
      at += 1;
    } else break;
  }
  return [items, at];
}

/** A table whose head is line `at`, and the line after it. */
function table(lines, at) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());
  const row = (line, kind) => make("tr", {}, ...cells(line).map((cell) => inline(make(kind), cell)));
  const body = make("tbody");
  const whole = make("table", {}, make("thead", {}, row(lines[at], "th")), body);
  at += 2;
  while (at < lines.length && ROW.test(lines[at])) {
    body.append(row(lines[at], "td"));
    at += 1;
  }
  return [whole, at];
}

/** The blocks of a text. */
function markdown(text) {
  const lines = text.split("\n");
  const blocks = document.createDocumentFragment();
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    const fence = line.match(/^\s*(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/);
    const heading = line.match(/^(#{1,6})\s+(.*?)\s*#*$/);
    if (fence) {
      const code = [];
      for (at += 1; at < lines.length && !lines[at].trim().startsWith(fence[1]); at += 1) code.push(lines[at]);
      at += 1;
      blocks.append(make("pre", {}, make("code", fence[2] ? { "data-language": fence[2] } : {}, code.join("\n"))));
    } else if (heading) {
      blocks.append(inline(make(`h${Math.min(heading[1].length + 1, 6)}`), heading[2]));
      at += 1;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      blocks.append(make("hr"));
      at += 1;
    } else if (line.startsWith(">")) {
      const quoted = [];
      for (; at < lines.length && lines[at].startsWith(">"); at += 1) quoted.push(lines[at].replace(/^> ?/, ""));
      blocks.append(make("blockquote", {}, markdown(quoted.join("\n"))));
    } else if (ROW.test(line) && /^\s*\|?[\s:|-]*-[\s:|-]*$/.test(lines[at + 1] ?? "")) {
      const [whole, next] = table(lines, at);
      blocks.append(whole);
      at = next;
    } else if (ITEM.test(line)) {
      const [items, next] = list(lines, at);
      blocks.append(items);
      at = next;
    } else if (line.trim()) {
      const part = [];
      do part.push(lines[at++]);
      while (at < lines.length && lines[at].trim() && !/^(\s*(```|~~~)|#{1,6}\s|>)/.test(lines[at]) && !ITEM.test(lines[at]));
      blocks.append(inline(make("p"), part.join("\n")));
    } else at += 1;
  }
  return blocks;
}

// The conversation

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function seconds(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** What a message looks like; `writing` while it comes. */
function view(message, index, writing) {
  const body = make("div", { class: "body" });
  const element = make("article", { class: `message ${message.role}${writing ? " writing" : ""}` });
  if (message.reasoning) {
    const thinks = writing && !message.content && !message.calls?.length;
    const fold = make("details", {}, make("summary", {}, thinks ? "Thinking…" : "Thoughts"), make("div", { class: "thought" }, message.reasoning));
    fold.open = message.unfolded ?? false;
    fold.addEventListener("toggle", () => (message.unfolded = fold.open));
    element.append(fold);
  }
  body.append(message.role === "assistant" ? markdown(message.content) : message.content);
  element.append(body);
  for (const call of message.calls ?? []) {
    element.append(make("div", { class: "call" }, make("strong", {}, call.name), make("pre", {}, make("code", {}, pretty(call.arguments)))));
  }
  if (message.error) element.append(make("p", { class: "wrong" }, message.error));
  if (writing) return element;
  const foot = make("div", { class: "foot" });
  if (message.stats) {
    const { tokens, rate, prompt, cached, wait } = message.stats;
    const parts = [`${tokens} tokens`];
    if (rate) parts.push(`${rate.toFixed(1)} tokens/s`);
    if (wait) parts.push(`first after ${seconds(wait)}`);
    if (prompt) parts.push(`prompt ${prompt}${cached ? `, ${cached} cached` : ""}`);
    foot.append(make("span", { class: "stats" }, parts.join(" · ")));
  }
  if (message.role === "assistant") {
    foot.append(make("button", { type: "button", onclick: () => copy(message.content) }, "Copy"));
    if (index === messages.length - 1) foot.append(make("button", { type: "button", id: "again", onclick: regenerate }, "Regenerate"));
  } else {
    foot.append(make("button", { type: "button", onclick: () => edit(index) }, "Edit"));
  }
  element.append(foot);
  return element;
}

function draw() {
  const log = $("log");
  log.replaceChildren(...messages.map((message, index) => view(message, index, running !== null && index === messages.length - 1)));
  if (!messages.length) log.append(make("p", { class: "empty" }, "Say something to begin."));
  log.scrollTop = log.scrollHeight;
}

/** Draws the last message again at the next frame. */
let frame = null;
function redrawLast() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    const log = $("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    const index = messages.length - 1;
    if (index < 0 || !log.lastElementChild) return;
    log.lastElementChild.replaceWith(view(messages[index], index, running !== null));
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
}

function notice(text) {
  $("notice").textContent = text ?? "";
  $("notice").hidden = !text;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    notice("This browser does not let the page copy; select the text instead.");
  }
}

function edit(index) {
  if (running) return;
  $("input").value = messages[index].content;
  messages = messages.slice(0, index);
  store("tabagent.messages", messages);
  draw();
  fit();
  $("input").focus();
}

function regenerate() {
  if (running || messages.at(-1)?.role !== "assistant") return;
  messages.pop();
  answer();
}

// The server

function headers() {
  const key = sessionStorage.getItem("tabagent.key");
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

/** The words of an error response. */
async function problem(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return error.message ?? error;
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

function body() {
  const sent = messages.slice(0, -1).map(({ role, content, reasoning, calls }) => ({
    role,
    content,
    ...(reasoning ? { reasoning_content: reasoning } : {}),
    ...(calls?.length ? { tool_calls: calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } })) } : {}),
  }));
  if (settings.system) sent.unshift({ role: "system", content: settings.system });
  const asked = { model: $("model").value || undefined, messages: sent, stream: true, stream_options: { include_usage: true } };
  for (const name of NUMBERS) if (settings[name] !== undefined && settings[name] !== "") asked[name] = Number(settings[name]);
  if (settings.thinking) asked.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  if (settings.tools?.trim()) asked.tools = JSON.parse(settings.tools);
  return asked;
}

/** The objects of a stream of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** Adds a piece of a stream to the message that it is of. */
function take(message, chunk) {
  if (chunk.error) throw new Error(chunk.error.message ?? String(chunk.error));
  const delta = chunk.choices?.[0]?.delta ?? {};
  message.content += delta.content ?? "";
  if (delta.reasoning_content) message.reasoning = (message.reasoning ?? "") + delta.reasoning_content;
  for (const { index, id, function: part } of delta.tool_calls ?? []) {
    message.calls ??= [];
    message.calls[index] ??= { id: "", name: "", arguments: "" };
    const call = message.calls[index];
    call.id ||= id ?? "";
    call.name += part?.name ?? "";
    call.arguments += part?.arguments ?? "";
  }
  if (chunk.timings || chunk.usage) {
    message.stats = {
      ...message.stats,
      ...(chunk.timings ? { tokens: chunk.timings.predicted_n, rate: chunk.timings.predicted_per_second } : {}),
      ...(chunk.usage ? { tokens: chunk.usage.completion_tokens, prompt: chunk.usage.prompt_tokens, cached: chunk.usage.prompt_tokens_details?.cached_tokens } : {}),
    };
  }
}

/** Has the model answer what was said. */
async function answer() {
  const message = { role: "assistant", content: "" };
  messages.push(message);
  running = new AbortController();
  notice();
  busy(true);
  draw();
  const started = performance.now();
  let wait = null;
  try {
    const response = await fetch(`${base}/v1/chat/completions`, { method: "POST", headers: headers(), body: JSON.stringify(body()), signal: running.signal });
    if (!response.ok) throw new Error(await problem(response));
    for await (const chunk of events(response)) {
      if (chunk.choices?.length) wait ??= performance.now() - started;
      take(message, chunk);
      redrawLast();
    }
  } catch (error) {
    if (error.name !== "AbortError") message.error = error.message;
  } finally {
    running = null;
    if (message.stats) message.stats.wait = wait;
    busy(false);
    store("tabagent.messages", messages);
    draw();
  }
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  $("new").disabled = is;
}

async function listModels() {
  try {
    const response = await fetch(`${base}/v1/models`, { headers: headers() });
    if (!response.ok) throw new Error(await problem(response));
    const { data } = await response.json();
    $("model").replaceChildren(...data.map(({ id }) => make("option", { value: id }, id)));
    if (data.some(({ id }) => id === settings.model)) $("model").value = settings.model;
    notice();
  } catch (error) {
    notice(error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

// What the user does

function fit() {
  const input = $("input");
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight + 2}px`;
}

function send() {
  const text = $("input").value.trim();
  if (!text || running) return;
  if (settings.tools?.trim()) {
    try {
      JSON.parse(settings.tools);
    } catch (error) {
      notice(`The tools in the settings are no JSON: ${error.message}`);
      return;
    }
  }
  messages.push({ role: "user", content: text });
  $("input").value = "";
  fit();
  answer();
}

function showSettings() {
  for (const field of document.querySelectorAll("[data-setting]")) {
    const name = field.dataset.setting;
    field.value = name === "key" ? sessionStorage.getItem("tabagent.key") ?? "" : settings[name] ?? "";
  }
  document.documentElement.dataset.colours = settings.colours ?? "";
}

function readSettings() {
  for (const field of document.querySelectorAll("[data-setting]")) {
    if (field.dataset.setting === "key") sessionStorage.setItem("tabagent.key", field.value);
    else settings[field.dataset.setting] = field.value;
  }
  store("tabagent.settings", settings);
  document.documentElement.dataset.colours = settings.colours ?? "";
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("input").addEventListener("input", fit);
$("input").addEventListener("keydown", (event) => {
  // On a touch screen, Enter ends a line.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches) {
    event.preventDefault();
    send();
  }
});
$("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("settings").open) running?.abort();
});
$("new").addEventListener("click", () => {
  if (running) return;
  messages = [];
  store("tabagent.messages", messages);
  draw();
  $("input").focus();
});
$("model").addEventListener("change", () => {
  settings.model = $("model").value;
  store("tabagent.settings", settings);
});
$("open-settings").addEventListener("click", () => {
  showSettings();
  $("settings").showModal();
});
$("settings").addEventListener("close", () => {
  readSettings();
  listModels();
});
$("reset").addEventListener("click", () => {
  for (const field of document.querySelectorAll("[data-setting]")) field.value = "";
});

showSettings();
draw();
listModels();
