// Send a file by tus as browsers do, break off after the first chunk, and go on from where the server is.
// Arguments: the address, a token, the file.
import { readFileSync } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, token, path] = process.argv.slice(2);
const content = readFileSync(path);
const options = {
  endpoint,
  chunkSize: Math.ceil(content.length / 4),
  headers: { authorization: `Bearer ${token}` },
  metadata: { filename: "holiday.mp4", filetype: "video/mp4" },
  retryDelays: [0],
};

function sent(more) {
  return new Promise((done, failed) => {
    const upload = new Upload(content, { ...options, ...more, onError: failed, onSuccess: () => done(upload) });
    upload.options.onChunkComplete = (_, offset) => {
      if (!more.uploadUrl) upload.abort().then(() => done({ ...upload, url: upload.url, offset }));
    };
    upload.start();
  });
}

const begun = await sent({});
const whole = await sent({ uploadUrl: begun.url });
console.log(JSON.stringify({ after: begun.offset, url: whole.url }));
