import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { overSocket } from "./sockets.js";

// Queries and mutations go over HTTP: urql leaves them with their first result, which graphql-ws counts as two that have
// left, and then it closes the socket of those who follow.
export function urql(url, token) {
  const socket = overSocket(url, token);
  const forwardSubscription = (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
  });
  const signed = async (input, { headers, ...init }) =>
    fetch(input, { ...init, headers: { ...headers, authorization: `Bearer ${await token()}` } });
  const exchanges = [subscriptionExchange({ forwardSubscription }), fetchExchange];
  return { client: new Client({ url, fetch: signed, exchanges }), socket };
}
