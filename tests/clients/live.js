// Follows changes by the clients that pages use, many at once. Takes commands, and tells what comes of them, each as a
// line of JSON; ends when there are no more. Argument: the address of GraphQL.
import { createInterface } from "node:readline";
import { gql } from "@apollo/client/core";
import { createClient } from "graphql-ws";
import { apolloOverHttp, apolloOverSocket } from "./live/apollo.js";
import { overEvents } from "./live/events.js";
import { pause, resuming } from "./live/resuming.js";
import { overSocket } from "./live/sockets.js";
import { urql } from "./live/urql.js";

const [url] = process.argv.slice(2);
const open = {};

const KINDS = {
  "graphql-ws": (token) => ofGraphql(overSocket(url, token)),
  "graphql-sse": (token) => ofGraphql(overEvents(url, token)),
  urql: (token) => ofUrql(urql(url, token)),
  "apollo-ws": (token) => ofApollo(apolloOverSocket(url, token)),
  "apollo-multipart": (token) => ofApollo(apolloOverHttp(url, token)),
  forgetful: (token) => ofGraphql(forgetful(token)),
  unplaced: (token) => ofGraphql(resuming(forgetful(token))),
};

function ofGraphql(client) {
  return {
    follow: (query, variables, sink) => client.subscribe({ query, variables }, sink),
    ask: async (query) => (await client.iterate({ query }).next()).value,
    socket: client,
    close: client.dispose,
  };
}

function ofUrql({ client, socket }) {
  return {
    follow(query, variables, sink) {
      client.subscription(query, variables).subscribe(({ data, error, extensions }) => {
        if (error?.networkError) sink.error(error.networkError);
        else if (error && !data) sink.error(error.graphQLErrors);
        else sink.next({ data, extensions });
      });
    },
    ask: (query) => client.query(query, {}).toPromise(),
    socket,
    close: socket.dispose,
  };
}

function ofApollo({ client, socket }) {
  return {
    follow(query, variables, sink) {
      client.subscribe({ query: gql(query), variables, fetchPolicy: "no-cache" }).subscribe({
        ...sink,
        next: ({ data, error, extensions }) => (error ? sink.error(error) : sink.next({ data, extensions })),
      });
    },
    ask: (query) => client.query({ query: gql(query), fetchPolicy: "no-cache" }),
    socket,
    close: socket?.dispose ?? (() => client.stop()),
  };
}

// What a page gets that connects again and asks as it did at first: the control.
function forgetful(token) {
  return createClient({
    url: url.replace(/^http/, "ws"),
    connectionParams: () => ({ authorization: `Bearer ${token()}` }),
    retryAttempts: Infinity,
    retryWait: pause,
    shouldRetry: () => true,
  });
}

function say(as, name, told) {
  console.log(JSON.stringify({ as, name, ...told }));
}

// Errors of GraphQL as they are; of a socket its code; of HTTP its status; whatever else in words.
function why(reason) {
  const errors = Array.isArray(reason) ? reason : reason?.errors;
  if (errors) return { errors };
  return { failed: String(reason?.code ?? reason?.statusCode ?? reason?.message ?? reason) };
}

function sinkOf(as, name) {
  return {
    next: (next) => say(as, name, { next }),
    error: (reason) => say(as, name, why(reason)),
    complete: () => say(as, name, { complete: true }),
  };
}

function obey({ as, name, open: kind, follow, connected, ask, renew, close, token, variables }) {
  if (kind) {
    const held = { token };
    open[as] = { held, ...KINDS[kind](() => held.token) };
    open[as].socket?.on?.("pong", (received) => received || say(as, "pong", {}));
    return;
  }
  const client = open[as];
  client.held.token = token ?? client.held.token;
  if (follow) client.follow(follow, variables, sinkOf(as, name));
  // Messages of a socket are taken in their order.
  if (connected) client.socket.iterate({ query: "{ __typename }" }).next().then(() => say(as, name, {}), sinkOf(as, name).error);
  if (ask) client.ask(ask).then(({ data }) => say(as, name, { next: { data } }), sinkOf(as, name).error);
  if (renew) client.socket?.renew?.();
  if (close) client.close();
}

for await (const line of createInterface({ input: process.stdin })) obey(JSON.parse(line));
process.exit();
