// Sends a file by tus-js-client, gives up half-way, and goes on as another client would that knows only the address.
// Arguments: where uploads are begun, the token, the file. Prints where it went on, and the address.
import { createReadStream, statSync } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, token, path] = process.argv.slice(2);
const size = statSync(path).size;
const options = {
  endpoint,
  headers: { authorization: `Bearer ${token}` },
  uploadSize: size,
  chunkSize: 1024 * 1024,
  metadata: { filename: "holiday.mp4", filetype: "video/mp4" },
  retryDelays: [],
};

function half() {
  return new Promise((resolve, reject) => {
    const upload = new Upload(createReadStream(path), {
      ...options,
      onError: reject,
      async onChunkComplete(_, sent) {
        if (sent >= size / 2) {
          await upload.abort();
          resolve(upload.url);
        }
      },
    });
    upload.start();
  });
}

function rest(uploadUrl) {
  return new Promise((resolve, reject) => {
    let from = null;
    const upload = new Upload(createReadStream(path), {
      ...options,
      uploadUrl,
      onError: reject,
      onProgress(sent) {
        from ??= sent;
      },
      onSuccess: () => resolve(from),
    });
    upload.start();
  });
}

const url = await half();
console.log(await rest(url), url);
