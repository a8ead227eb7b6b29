import { Viewer, bytesOf, dropZone, readNifti, showTable } from "./viewer.js";

const id = (name) => document.getElementById(name);
const viewer = new Viewer(id("viewer"));
const model = await answer(await fetch("model"));
id("model").textContent =
  `${model.dataset}, ${model.configuration}. One file per channel: ${model.channels.join(", ")}.`;

function say(text, state) {
  id("status").textContent = text;
  id("status").classList.toggle("error", state === "error");
  document.body.dataset.state = state;
  id("stop").hidden = id("progress").hidden = state !== "busy";
}

/** The JSON of an answer; an error is the service's sentence. */
async function answer(response) {
  const json = await response.json();
  if (!response.ok) throw new Error(json.error ?? response.statusText);
  return json;
}

/** Follows the events of an upload to its end. */
function follow(job) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`jobs/${job}/events`);
    events.onmessage = ({ data }) => {
      const now = JSON.parse(data);
      if (now.state === "waiting") say(`${now.ahead} before this one`, "busy");
      if (now.state === "running" && now.total) {
        Object.assign(id("progress"), { value: now.done, max: now.total });
        say(`tile ${now.done} of ${now.total}`, "busy");
      }
      if (now.state === "done" || now.state === "failed") events.close();
      if (now.state === "done") resolve(now);
      if (now.state === "failed") reject(new Error(now.error));
    };
  });
}

async function segment(files) {
  files.sort((a, b) => a.name.localeCompare(b.name));
  say("Uploading", "busy");
  id("progress").removeAttribute("value");
  id("result").hidden = true;
  try {
    const form = new FormData();
    files.forEach((file) => form.append("image", file));
    const { id: job } = await answer(await fetch("jobs", { method: "POST", body: form }));
    id("stop").onclick = () => fetch(`jobs/${job}`, { method: "DELETE" });
    const { seconds } = await follow(job);
    const image = await readNifti(await bytesOf(files[0]));
    const response = await fetch(`jobs/${job}/labels`);
    const labels = await readNifti(new Uint8Array(await response.arrayBuffer()));
    id("result").hidden = false;
    viewer.setImage(image);
    viewer.setLabels(labels);
    showTable(id("table"), labels, model.labels, null);
    id("download").href = `jobs/${job}/labels`;
    say(`Segmented in ${seconds.toFixed(1)} s.`, "done");
  } catch (error) {
    say(error.message, "error");
  }
}

id("image").onchange = () => segment([...id("image").files]);
dropZone(id("drop"), segment);
say("", "ready");
