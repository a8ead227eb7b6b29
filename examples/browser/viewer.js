// Volumes on a canvas: reading NIfTI, slices with an overlay of labels, volumes and Dice per label.

/** Colours of labels 1, 2, …; more begin anew. */
const COLOURS = [
  [230, 75, 60], [60, 160, 235], [95, 200, 90], [245, 190, 60], [170, 110, 220],
  [70, 205, 200], [240, 120, 180], [150, 150, 60],
];
export const colour = (label) => COLOURS[(label - 1) % COLOURS.length];

const KINDS = {
  2: ["getUint8", 1], 4: ["getInt16", 2], 8: ["getInt32", 4], 16: ["getFloat32", 4], 64: ["getFloat64", 8],
  256: ["getInt8", 1], 512: ["getUint16", 2], 768: ["getUint32", 4],
};

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Reads one volume of a NIfTI-1 file, gzipped or not.
 * @returns {Promise<{shape: number[], spacing: number[], data: Float32Array}>} shape and spacing (mm) along z, y, x
 */
export async function readNifti(bytes) {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await gunzip(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 352) throw new Error("This is not a NIfTI file: it is too short.");
  const little = view.getInt32(0, true) === 348;
  if (!little && view.getInt32(0, false) !== 348) throw new Error("This is not a NIfTI-1 file.");
  const axes = view.getInt16(40, little);
  const size = (axis) => (axis <= axes ? Math.max(1, view.getInt16(40 + 2 * axis, little)) : 1);
  const shape = [size(3), size(2), size(1)];
  const spacing = [3, 2, 1].map((axis) => Math.abs(view.getFloat32(76 + 4 * axis, little)) || 1);
  const kind = KINDS[view.getInt16(70, little)];
  if (!kind) throw new Error(`This page does not draw values of NIfTI type ${view.getInt16(70, little)}.`);
  const [read, width] = kind;
  const count = shape[0] * shape[1] * shape[2];
  const start = Math.max(352, view.getFloat32(108, little));
  if (bytes.length < start + count * width) throw new Error("The NIfTI file is truncated.");
  const slope = view.getFloat32(112, little) || 1;
  const intercept = view.getFloat32(116, little) || 0;
  const data = new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = view[read](start + i * width, little) * slope + intercept;
  return { shape, spacing, data };
}

/** The 1st and 99th percentile of a sample of the values. */
function window99(data) {
  const step = Math.max(1, Math.floor(data.length / 50000));
  const sample = [];
  for (let i = 0; i < data.length; i += step) sample.push(data[i]);
  sample.sort((a, b) => a - b);
  const at = (share) => sample[Math.floor(share * (sample.length - 1))];
  const [low, high] = [at(0.01), at(0.99)];
  return [low, high > low ? high : low + 1];
}

/** Slices of a volume with labels over them. */
export class Viewer {
  constructor(root) {
    root.innerHTML = `
      <div class="controls">
        <label>plane <select class="plane"><option value="0">axial</option><option value="1">coronal</option>
          <option value="2">sagittal</option></select></label>
        <label>slice <input class="slice" type="range" min="0" max="0" value="0"> <output class="number"></output></label>
        <label>overlay <input class="opacity" type="range" min="0" max="100" value="55"></label>
      </div>
      <canvas class="picture" width="1" height="1"></canvas>`;
    const find = (name) => root.querySelector(`.${name}`);
    [this.plane, this.slice, this.opacity, this.number, this.canvas] =
      ["plane", "slice", "opacity", "number", "picture"].map(find);
    this.plane.onchange = () => this.choosePlane();
    this.slice.oninput = this.opacity.oninput = () => this.draw();
    this.canvas.onwheel = (event) => {
      event.preventDefault();
      this.slice.value = Number(this.slice.value) + Math.sign(event.deltaY);
      this.draw();
    };
    this.image = this.labels = null;
  }

  setImage(image) {
    [this.image, this.labels, this.range] = [image, null, window99(image.data)];
    this.choosePlane();
  }

  setLabels(labels) {
    if (!this.image || labels.data.length !== this.image.data.length) throw new Error("The labels have another shape.");
    this.labels = labels;
    this.choosePlane();
  }

  /** Index of a voxel in a slice: row and column of the picture. */
  index(plane, slice, row, column) {
    const [depth, height, width] = this.image.shape;
    if (plane === 0) return (slice * height + row) * width + column;
    if (plane === 1) return ((depth - 1 - row) * height + slice) * width + column;
    return ((depth - 1 - row) * height + column) * width + slice;
  }

  /** Rows, columns and how tall a pixel is, of a plane. */
  extent(plane) {
    const [depth, height, width] = this.image.shape;
    const [dz, dy, dx] = this.image.spacing;
    return [[height, width, dy / dx], [depth, width, dz / dx], [depth, height, dz / dy]][plane];
  }

  /** Begins with the slice that has most of the labels, or the middle. */
  choosePlane() {
    if (!this.image) return;
    const plane = Number(this.plane.value);
    const slices = this.image.shape[plane];
    this.slice.max = slices - 1;
    let best = Math.floor(slices / 2);
    if (this.labels) {
      const counts = new Array(slices).fill(0);
      const [rows, columns] = this.extent(plane);
      for (let slice = 0; slice < slices; slice++)
        for (let row = 0; row < rows; row++)
          for (let column = 0; column < columns; column++)
            if (this.labels.data[this.index(plane, slice, row, column)] > 0) counts[slice]++;
      const most = Math.max(...counts);
      if (most > 0) best = counts.indexOf(most);
    }
    this.slice.value = best;
    this.draw();
  }

  draw() {
    if (!this.image) return;
    const plane = Number(this.plane.value);
    const slice = Number(this.slice.value);
    const [rows, columns, tall] = this.extent(plane);
    this.number.textContent = `${slice + 1} of ${this.image.shape[plane]}`;
    Object.assign(this.canvas, { width: columns, height: rows });
    const scale = 512 / Math.max(columns, rows * tall);
    this.canvas.style.width = `${columns * scale}px`;
    this.canvas.style.height = `${rows * tall * scale}px`;
    const context = this.canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const [low, high] = this.range;
    const opacity = Number(this.opacity.value) / 100;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = this.index(plane, slice, row, column);
        const grey = Math.min(255, Math.max(0, (255 * (this.image.data[at] - low)) / (high - low)));
        const label = this.labels ? this.labels.data[at] : 0;
        const tint = label > 0 ? colour(label) : null;
        for (let c = 0; c < 3; c++)
          picture.data[4 * (row * columns + column) + c] = tint ? grey + opacity * (tint[c] - grey) : grey;
        picture.data[4 * (row * columns + column) + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
  }
}

/**
 * A table of the labels: volume in millilitres and, with a reference, Dice.
 * @param names name → value, or a list of values for a region
 */
export function showTable(table, labels, names, reference) {
  const millilitres = labels.spacing.reduce((a, b) => a * b, 1) / 1000;
  const rows = [];
  for (const [name, value] of Object.entries(names)) {
    const values = new Set([].concat(value));
    if (name === "ignore" || (values.size === 1 && values.has(0))) continue;
    let [found, truth, both] = [0, 0, 0];
    for (let i = 0; i < labels.data.length; i++) {
      const [a, b] = [values.has(labels.data[i]), reference ? values.has(reference.data[i]) : false];
      found += a;
      truth += b;
      both += a && b;
    }
    const dice = reference && found + truth > 0 ? ((2 * both) / (found + truth)).toFixed(3) : "";
    rows.push({ name, label: [...values].pop(), volume: (found * millilitres).toFixed(2), dice });
  }
  table.replaceChildren();
  const heads = ["", "label", "volume in ml"].concat(reference ? ["Dice"] : []);
  const head = table.createTHead().insertRow();
  heads.forEach((text) => head.appendChild(document.createElement("th")).append(text));
  const body = table.createTBody();
  for (const { name, label, volume, dice } of rows) {
    const row = body.insertRow();
    const patch = document.createElement("span");
    patch.className = "patch";
    patch.style.background = `rgb(${colour(label)})`;
    row.insertCell().append(patch);
    [name, volume].concat(reference ? [dice] : []).forEach((text) => row.insertCell().append(text));
  }
  return rows;
}

/** Lets files be dropped on an element as well as chosen. */
export function dropZone(zone, take) {
  zone.ondragover = (event) => {
    event.preventDefault();
    zone.classList.add("over");
  };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take([...event.dataTransfer.files]);
  };
}

export const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());
