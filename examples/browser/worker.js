// Runs the module away from the page, so that the page stays alive.
import { NnUnet } from "./nnunet.js";

onmessage = async ({ data: { module, files, channels, mirroring } }) => {
  try {
    const nnunet = await NnUnet.load(module);
    nnunet.onProgress = (done, total) => postMessage({ done, total });
    const about = nnunet.open(files, { mirroring });
    postMessage({ about });
    const start = performance.now();
    const labels = nnunet.segment(channels);
    postMessage({ labels, seconds: (performance.now() - start) / 1000 }, [labels.buffer]);
  } catch (error) {
    postMessage({ error: error.message });
  }
};
