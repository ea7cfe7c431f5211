import { createClient } from "graphql-ws";
import { pause, resuming } from "./resuming.js";

const EXPIRED = "the access token has expired";

// `token` gives an access token that is good now: it is asked before each connection, and by `renew`.
export function overSocket(url, token) {
  const signed = async () => ({ authorization: `Bearer ${await token()}` });
  let socket;
  let place;
  let greeted;
  const client = createClient({
    url: url.replace(/^http/, "ws"),
    connectionParams: signed,
    retryAttempts: Infinity,
    retryWait: pause,
    // Who was let in with a token that has run out since comes back with the next; another 4403 would only come again.
    shouldRetry: (event) => event.code !== 4403 || (greeted && event.reason === EXPIRED),
    on: {
      opened: (opened) => ((socket = opened), (greeted = false)),
      connected: (_, payload) => ((place = payload?.cursor), (greeted = true)),
    },
  });
  const renew = async () => socket.send(JSON.stringify({ type: "ping", payload: await signed() }));
  return { ...resuming(client, () => place), renew };
}
