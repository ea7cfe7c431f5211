import { createClient } from "graphql-ws";
import { pause, resuming } from "./resuming.js";

// `token` gives an access token that is good now: it is asked before each connection, and by `renew`.
export function overSocket(url, token) {
  const signed = async () => ({ authorization: `Bearer ${await token()}` });
  let socket;
  const client = createClient({
    url: url.replace(/^http/, "ws"),
    connectionParams: signed,
    retryAttempts: Infinity,
    retryWait: pause,
    shouldRetry: (event) => event.code !== 4403,
    on: { opened: (opened) => (socket = opened) },
  });
  const renew = async () => socket.send(JSON.stringify({ type: "ping", payload: await signed() }));
  return { ...resuming(client), renew };
}
