import { Viewer, bytesOf, dropZone, readNifti, showTable } from "./viewer.js";

const id = (name) => document.getElementById(name);
const viewer = new Viewer(id("viewer"));
const chosen = { model: [], image: [], reference: [] };
let worker = null;

function say(text, state) {
  id("status").textContent = text;
  id("status").classList.toggle("error", state === "error");
  document.body.dataset.state = state;
  const busy = state === "busy";
  id("segment").disabled = busy;
  id("stop").hidden = id("progress").hidden = !busy;
}

for (const name of Object.keys(chosen)) {
  id(name).onchange = () => (chosen[name] = [...id(name).files]);
}

/** Dropped files go where their names say. */
dropZone(id("drop"), (files) => {
  const isNifti = (file) => /\.nii(\.gz)?$/i.test(file.name);
  const model = files.filter((file) => /\.(json|safetensors|pth)$/i.test(file.name));
  const images = files.filter(isNifti);
  if (model.length) chosen.model = model;
  if (images.length) chosen.image = images;
  const names = [...chosen.model, ...chosen.image].map((file) => file.name);
  say(names.length ? `Taken: ${names.join(", ")}` : "These files are neither a model nor NIfTI images.", "ready");
});

async function modelFiles() {
  const named = (test, what) => {
    const file = chosen.model.find((file) => test(file.name.toLowerCase()));
    if (!file) throw new Error(`Choose the model's files: ${what} is missing.`);
    return bytesOf(file);
  };
  return {
    plans: await named((name) => name.includes("plans") && name.endsWith(".json"), "plans.json"),
    dataset: await named((name) => name.includes("dataset") && name.endsWith(".json"), "dataset.json"),
    checkpoint: await named((name) => /\.(safetensors|pth)$/.test(name), "a checkpoint (.safetensors or .pth)"),
  };
}

/** What the worker says until it is done. */
function run(message) {
  return new Promise((resolve, reject) => {
    worker = new Worker("worker.js", { type: "module" });
    const found = {};
    worker.onerror = (event) => reject(new Error(event.message || "The worker could not be started."));
    worker.onmessage = ({ data }) => {
      Object.assign(found, data);
      if (data.error) reject(new Error(data.error));
      if (data.total) {
        Object.assign(id("progress"), { value: data.done, max: data.total });
        say(`tile ${data.done} of ${data.total}`, "busy");
      }
      if (data.labels) resolve(found);
    };
    id("stop").onclick = () => reject(new Error("Stopped."));
    worker.postMessage(message);
  }).finally(() => {
    worker.terminate();
    worker = null;
  });
}

async function segment() {
  say("Reading the files", "busy");
  id("result").hidden = true;
  try {
    const files = await modelFiles();
    if (!chosen.image.length) throw new Error("Choose an image.");
    const images = chosen.image.toSorted((a, b) => a.name.localeCompare(b.name));
    const channels = await Promise.all(images.map(bytesOf));
    const shown = await readNifti(channels[0]);
    const reference = chosen.reference.length ? await readNifti(await bytesOf(chosen.reference[0])) : null;
    say("Loading the model", "busy");
    const module = new URL("nnunet.wasm", location.href).href;
    const { labels, about, seconds } = await run({ module, files, channels, mirroring: id("mirroring").checked });
    const volume = await readNifti(labels);
    id("result").hidden = false;
    viewer.setImage(shown);
    viewer.setLabels(volume);
    showTable(id("table"), volume, about.labels, reference);
    URL.revokeObjectURL(id("download").href);
    id("download").href = URL.createObjectURL(new Blob([labels]));
    say(`Segmented in ${seconds.toFixed(1)} s.`, "done");
  } catch (error) {
    say(error.message, "error");
  }
}

id("segment").onclick = segment;
say("", "ready");
