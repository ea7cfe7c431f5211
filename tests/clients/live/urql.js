import { Client, subscriptionExchange } from "@urql/core";
import { overSocket } from "./sockets.js";

export function urql(url, token) {
  const socket = overSocket(url, token);
  const forwardSubscription = (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
  });
  const live = subscriptionExchange({ forwardSubscription, enableAllOperations: true });
  return { client: new Client({ url, exchanges: [live] }), socket };
}
