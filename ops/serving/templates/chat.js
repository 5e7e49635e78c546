"use strict";
// Whatever a model says is text: it is put in by textContent alone, without characters that hide or turn it.
const byId = (id) => document.getElementById(id);
const visible = (text) =>
  text.replace(/\r\n/g, "\n").replace(/(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}]/gu, "\ufffd");
const talks = new Map(); // name: what was said, as OpenAI's messages
let asking = null;

function element(kind, name, text, parent) {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = visible(text);
  parent.append(made);
  return made;
}

function trouble(text) {
  byId("trouble").hidden = !text;
  byId("trouble").textContent = visible(text);
}

async function fetched(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
  const reply = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers });
  if (reply.status === 401) document.querySelector(".key").hidden = false;
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  return reply;
}

// The events of a stream, one by one; an end that isn't the last event is none.
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the answer broke off");
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

async function answer(name, question, parent, signal) {
  const box = element("section", "answer", "", parent);
  element("h2", "", name, box);
  const thought = element("div", "thought", "", box);
  const text = element("div", "text", "", box);
  const end = element("p", "end", "…", box);
  const system = byId("system").value.trim();
  const said = [...talks.get(name), { role: "user", content: question }];
  const body = {
    model: name, stream: true, stream_options: { include_usage: true }, max_tokens: Number(byId("most").value),
    temperature: Number(byId("temperature").value),
    messages: system ? [{ role: "system", content: system }, ...said] : said,
  };
  const message = { role: "assistant", content: "" };
  const began = performance.now();
  let finish = null, used = null;
  try {
    for await (const event of events(await fetched("/v1/chat/completions", body, signal))) {
      const choice = event.choices[0];
      used = event.usage || used;
      if (!choice) continue;
      finish = choice.finish_reason || finish;
      if (choice.delta.reasoning_content) {
        message.reasoning_content = (message.reasoning_content || "") + choice.delta.reasoning_content;
        thought.textContent = visible(message.reasoning_content);
      }
      if (choice.delta.content) {
        message.content += choice.delta.content;
        text.textContent = visible(message.content);
      }
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const nothing = message.content ? "" : "it said nothing; ";
    end.textContent = `${nothing}${used.completion_tokens} tokens in ${seconds} s${finish === "length" ? "; cut: no more room" : ""}`;
    if (message.content) talks.set(name, [...said, message]);
  } catch (error) {
    end.classList.add("wrong");
    end.textContent = visible(signal.aborted ? "stopped; not kept" : `${error.message}; not kept`);
  }
}

async function ask(event) {
  event.preventDefault();
  const question = byId("question").value.trim();
  const names = [...document.querySelectorAll("#models input:checked")].map((box) => box.value);
  if (asking || !question || !names.length) return;
  trouble("");
  byId("question").value = "";
  asking = new AbortController();
  byId("send").disabled = true;
  byId("stop").disabled = false;
  element("div", "asked", question, byId("said"));
  const answers = element("div", "answers", "", byId("said"));
  answers.scrollIntoView({ block: "end" });
  await Promise.all(names.map((name) => answer(name, question, answers, asking.signal)));
  asking = null;
  byId("send").disabled = false;
  byId("stop").disabled = true;
  answers.scrollIntoView({ block: "end" });
  byId("question").focus();
}

function reset() {
  if (asking) asking.abort();
  for (const name of talks.keys()) talks.set(name, []);
  byId("said").replaceChildren();
}

async function begin() {
  try {
    const { data } = await (await fetched("/v1/models")).json();
    trouble("");
    byId("models").replaceChildren(byId("models").firstElementChild);
    data.forEach((model, place) => {
      talks.set(model.id, []);
      const label = element("label", "", "", byId("models"));
      const box = element("input", "", "", label);
      Object.assign(box, { type: "checkbox", value: model.id, checked: place < 2 });
      label.append(` ${visible(model.id)}`);
    });
  } catch (error) {
    trouble(error.message);
  }
}

byId("ask").addEventListener("submit", ask);
byId("stop").addEventListener("click", () => asking && asking.abort());
byId("reset").addEventListener("click", reset);
byId("key").addEventListener("change", begin);
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
});
begin();
