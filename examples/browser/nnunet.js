// The C interface of nnunet.h, called from JavaScript.

/** Offset of `mirroring` in nnunet_options, and the size of it, where pointers have 32 bits. */
const [MIRRORING, OPTIONS_SIZE] = [32, 40];

export class NnUnet {
  /** Compiles and starts the module. */
  static async load(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    const module = await WebAssembly.compile(await response.arrayBuffer());
    const self = new NnUnet();
    const imports = { nnunet: { progress: (_, done, total) => (self.onProgress(done, total) ? 1 : 0) } };
    // What dependencies could call for random numbers; segmenting needs none.
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      if (from === "nnunet") continue;
      (imports[from] ??= {})[name] = () => {
        throw new Error(`${from}.${name} is not there`);
      };
    }
    self.wasm = (await WebAssembly.instantiate(module, imports)).exports;
    self.onProgress = () => false;
    return self;
  }

  get version() {
    return this.text(this.wasm.nnunet_version());
  }

  /** Loads a model from the bytes of plans.json, dataset.json and a checkpoint. */
  open({ plans, dataset, checkpoint }, { mirroring = true } = {}) {
    const { wasm } = this;
    return this.scope((put, room) => {
      const options = room(OPTIONS_SIZE);
      this.check(() => wasm.nnunet_options_init(options));
      this.view().setUint32(options + MIRRORING, mirroring ? 1 : 0, true);
      const out = room(4);
      const files = [plans, dataset, checkpoint].flatMap((bytes) => [put(bytes), bytes.length]);
      this.check(() => wasm.nnunet_model_from_bytes(...files, options, out));
      this.close();
      this.model = this.view().getUint32(out, true);
      this.check(() => wasm.nnunet_model_describe(this.model, out));
      this.about = JSON.parse(this.text(this.view().getUint32(out, true)));
      return this.about;
    });
  }

  /** Segments an image from the bytes of a NIfTI file per channel; gives those of the labels (.nii). */
  segment(channels) {
    const { wasm } = this;
    return this.scope((put, room) => {
      const list = room(8 * channels.length);
      channels.forEach((bytes, i) => {
        const at = put(bytes);
        this.view().setUint32(list + 8 * i, at, true);
        this.view().setUint32(list + 8 * i + 4, bytes.length, true);
      });
      const out = room(8);
      const progress = wasm.nnunet_host_progress();
      this.check(() => wasm.nnunet_predict_nifti(this.model, list, channels.length, 0, progress, 0, 0, out));
      const result = this.view().getUint32(out, true);
      try {
        this.check(() => wasm.nnunet_result_nifti(result, 0, out, out + 4));
        const [data, length] = [this.view().getUint32(out, true), this.view().getUint32(out + 4, true)];
        return new Uint8Array(wasm.memory.buffer, data, length).slice();
      } finally {
        wasm.nnunet_result_free(result);
      }
    });
  }

  close() {
    if (this.model) this.wasm.nnunet_model_free(this.model);
    this.model = 0;
  }

  view() {
    return new DataView(this.wasm.memory.buffer);
  }

  text(at) {
    const bytes = new Uint8Array(this.wasm.memory.buffer);
    return new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  }

  /** Memory of the module for the time of a call. */
  scope(body) {
    const taken = [];
    const room = (length) => {
      const at = this.wasm.nnunet_alloc(length) >>> 0;
      if (!at) throw new Error(`There is no memory for ${length} bytes.`);
      taken.push([at, length]);
      return at;
    };
    const put = (bytes) => {
      const at = room(bytes.length);
      new Uint8Array(this.wasm.memory.buffer).set(bytes, at);
      return at;
    };
    try {
      return body(put, room);
    } finally {
      taken.forEach(([at, length]) => this.wasm.nnunet_dealloc(at, length));
    }
  }

  check(call) {
    let status;
    try {
      status = call();
    } catch (trap) {
      throw new Error(this.text(this.wasm.nnunet_last_error()) || `The module stopped: ${trap.message}`);
    }
    if (status !== 0) throw new Error(this.text(this.wasm.nnunet_last_error()));
  }
}
